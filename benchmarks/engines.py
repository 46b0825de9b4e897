"""Row "engines": texts in, probabilities out, with ONNX Runtime; against calling it directly with sorted batches, both
with the same graph and in the int8 that it makes itself, and against torch in our own hands."""

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import torch

from benchmarks.classifiers import save, serve_with_onnxruntime
from benchmarks.direct import Direct
from benchmarks.harness import Measured, Row, median_seconds, ratio_row, require_same, seconds
from benchmarks.real_weights import MINILM, real_weights
from benchmarks.workload import QUICK, Bench
from lib.inference.engines.saved import MODEL
from lib.inference.engines.torch_engine import TorchEngine
from lib.inference.predictor import Predictor

GROUP = "engines"
PRECISIONS = ("float32", "int8")
BATCHES = (8, 16, 32)  # texts, of which the other side's best is taken
CHECKED = 16  # texts whose probabilities are compared
ROUNDS = 3  # each side takes seconds in one


def rows(bench: Bench) -> Iterator[Row]:
    """Measure each model in both precisions, on the CPU."""
    if bench.device != "cpu":
        bench.say("engines is skipped: ONNX Runtime computes on the CPU here")
        return
    texts = list(islice(cycle(bench.workload.messages.texts), bench.amounts.predicted))
    for model in ("tiny",) if bench.amounts == QUICK else (MINILM, "tiny", "gpt2-small"):
        if model == MINILM and real_weights(MINILM) is None:
            bench.say(f"engines: {model} is skipped: its weights are not here (make models)")
            continue
        folders = {precision: bench.folder / f"engine-{model}-{precision}" for precision in PRECISIONS}
        for precision, folder in folders.items():
            save(model, folder, max_length=bench.workload.width)
            serve_with_onnxruntime(folder, precision, texts)
        for precision, folder in folders.items():
            yield _against_direct(bench, model, precision, folder, texts)
        yield _against_its_own_int8(bench, model, folders, texts)
        yield from _against_torch(model, folders["float32"], texts)


def _against_direct(bench: Bench, model: str, precision: str, folder: Path, texts: list[str]) -> Row:
    direct = Direct.load(folder)
    other = torch.from_numpy(direct.classify(texts[:CHECKED], batch=1))
    same = require_same("probabilities", _probabilities(Predictor.load(folder), texts[:CHECKED]), other)
    return _row(bench, f"{model} in {precision}, against ONNX Runtime called directly", folder, direct, texts, same)


def _against_its_own_int8(bench: Bench, model: str, folders: dict[str, Path], texts: list[str]) -> Row:
    file = folders["float32"] / "library.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(folders["float32"] / MODEL, file, per_channel=True, use_external_data_format=True)
        logging.disable(logging.NOTSET)
    direct = Direct.load(folders["float32"], file)
    same = "not the same: each side rounds in its own way, and the other's answers depend on a text's neighbours"
    return _row(bench, f"{model} in int8, against ONNX Runtime's own int8", folders["int8"], direct, texts, same)


def _against_torch(model: str, folder: Path, texts: list[str]) -> Iterator[Row]:
    """The same classifier with ONNX Runtime and with torch."""
    ours = Predictor.load(folder)
    other = replace(ours, engine=TorchEngine.load(folder, precision="float32", device="cpu"))
    same = require_same("probabilities", _probabilities(ours, texts[:CHECKED]), _probabilities(other, texts[:CHECKED]))
    for what, some in (("", texts), (", one text", texts[:1])):
        mine, its = median_seconds(
            [lambda: _probabilities(ours, some), lambda: _probabilities(other, some)],  # noqa: B023 - called at once
            repeats=ROUNDS,
        )
        yield ratio_row(
            GROUP,
            f"{model} in float32{what}, ONNX Runtime against torch",
            Measured("ONNX Runtime", len(some) / mine, "messages/s", f"{1000 * mine / len(some):.1f} ms a text"),
            Measured("torch", len(some) / its, "messages/s", f"{1000 * its / len(some):.1f} ms a text"),
            same=same,
        )


def _row(bench: Bench, what: str, folder: Path, direct: Direct, texts: list[str], same: str) -> Row:
    bench.say(f"engines: {what}")
    ours = Predictor.load(folder)
    sizes = {size: seconds(lambda: direct.classify(texts, size)) for size in BATCHES}  # noqa: B023 - called at once
    best = min(sizes, key=lambda size: sizes[size])
    mine, its = median_seconds(
        [lambda: _probabilities(ours, texts), lambda: direct.classify(texts, best)],
        repeats=min(ROUNDS, bench.amounts.repeats),
    )
    alone = [
        1000 * each
        for each in median_seconds(
            [lambda: _probabilities(ours, texts[:1]), lambda: direct.classify(texts[:1], 1)], repeats=20
        )
    ]
    return ratio_row(
        GROUP,
        what,
        Measured("texts in, probabilities out", len(texts) / mine, "messages/s", f"one text {alone[0]:.2f} ms"),
        Measured(
            f"sorted by length, batches of {best}, its best",
            len(texts) / its,
            "messages/s",
            f"one text {alone[1]:.2f} ms",
        ),
        at_least=1.0 if bench.judged else None,
        same=same,
    )


def _probabilities(predictor: Predictor, texts: list[str]) -> torch.Tensor:
    return torch.tensor([list(each.probabilities.values()) for each in predictor.predict(texts)])
