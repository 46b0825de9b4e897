"""Row "scoring": a million messages from a Parquet file to parts, with the tiny model served with ONNX Runtime: peak
memory, time, and what reading, writing and telling drift add to prediction alone.

Each amount runs in a process of its own (`python -m benchmarks.scoring JOB COUNT SOURCE DEVICE`), which prints seconds
and its peak memory. Messages beyond the first lot are the same texts with their words in another order.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.classifiers import save_gpt, serve_with_onnxruntime
from benchmarks.growth import texts_without_end
from benchmarks.harness import Measured, Row, limit_row, seconds
from benchmarks.memory import peak_bytes
from benchmarks.workload import LABELS, PROJECT, Bench
from lib.evaluation.drift.profile import DriftProfile, drift_profile
from lib.inference.predictor import Predictor
from lib.model.gpt2.sizes import SIZES
from lib.scoring.inputs import find_inputs
from lib.scoring.parts import Output
from lib.scoring.places import Folder
from lib.scoring.result import Model
from lib.scoring.rows import Columns
from lib.scoring.score import score
from lib.text.gpt2 import gpt2_tokenizer

GROUP = "scoring"
UNITS = 2000  # of `growth_unit`: a million messages where that is 500
FEWER = 20  # so many times fewer, to see that memory does not grow, and for the side without files
ALLOWED_MEGABYTES = 1500.0
ALLOWED_MICROS = 63.5  # half of what it took with torch, encoding every text twice
PART_ROWS = 50_000  # the default of a scoring job
WRITTEN_AT_ONCE = 10_000  # messages of the input file


def rows(bench: Bench) -> Iterator[Row]:
    """Measure the whole amount, and a part of it with files and without."""
    many = UNITS * bench.amounts.growth_unit
    few = many // FEWER
    source = bench.folder / "scoring.json"
    source.write_text(json.dumps(bench.workload.messages.texts[: bench.amounts.growth_unit]), encoding="utf-8")
    results = {}
    for job, count in (("score", few), ("predict", few), ("score", many)):
        bench.say(f"scoring: {job}, {count:,} messages")
        results[job, count] = _run(job, count, source, bench.device)
    whole, part, alone = results["score", many], results["score", few], results["predict", few]
    details = {f"{job} {count}": result for (job, count), result in results.items()}
    megabytes = whole["peak_bytes"] / 1e6
    yield limit_row(
        GROUP,
        f"scoring {many:,} messages: peak memory",
        Measured("Parquet in, parts out", megabytes, "MB", f"{few:,} messages: {part['peak_bytes'] / 1e6:.0f} MB"),
        ALLOWED_MEGABYTES,
        judged=bench.judged,
        details=details,
    )
    micros, floor = whole["seconds"] / many * 1e6, alone["seconds"] / few * 1e6
    ours = Measured("Parquet in, parts out, drift told", micros, "us", f"{whole['seconds']:.0f} s in all")
    yield Row(
        GROUP,
        f"scoring {many:,} messages: time per message, against prediction alone",
        ours,
        Measured("lib.inference.predictor on texts in memory", floor, "us", f"{few:,} messages"),
        micros / floor,
        details=details,
        better="lower",
    )
    what = f"scoring {many:,} messages: time per message"
    yield limit_row(GROUP, what, ours, ALLOWED_MICROS, judged=bench.judged, details=details)


def _run(job: str, count: int, source: Path, device: str) -> dict[str, float]:
    """What a process of its own printed."""
    command = [sys.executable, "-m", "benchmarks.scoring", job, str(count), str(source), device]
    printed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    return result


def measure(job: str, count: int, source: Path, device: str) -> dict[str, float]:
    """Seconds and peak bytes of this process."""
    texts = json.loads(source.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        work = JOBS[job](texts, count, Path(folder), device)
        elapsed = seconds(work)
    return {"seconds": elapsed, "peak_bytes": peak_bytes()}


def _predictor(folder: Path, device: str) -> Predictor:
    """A tiny classifier, with ONNX Runtime where that is installed and computes on this device."""
    saved = folder / "classifier"
    save_gpt(saved, "tiny", max_length=SIZES["tiny"].context_length)
    if device == "cpu" and find_spec("onnxruntime") is not None:
        serve_with_onnxruntime(saved, "float32", ())
    return Predictor.load(saved, device=device)


def _predict(texts: list[str], count: int, folder: Path, device: str) -> Callable[[], object]:
    predicting = _predictor(folder, device)

    def work() -> None:
        for _ in predicting.predict(islice(texts_without_end(texts), count)):
            pass

    return work


def _score(texts: list[str], count: int, folder: Path, device: str) -> Callable[[], object]:
    file = folder / "messages.parquet"
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(file, schema) as writer:
        messages = islice(texts_without_end(texts), count)
        while lot := list(islice(messages, WRITTEN_AT_ONCE)):
            writer.write_table(pa.table([lot], schema=schema))
    profile, predicting = _profile(texts), _predictor(folder, device)

    def work() -> None:
        with Output(Folder(folder / "scored")).opened() as output:
            result = score(
                find_inputs([str(file)], format=None, without=output.name),
                output,
                model=Model("benchmark", "1", "", LABELS),
                predictor=lambda: predicting,
                profile=profile,
                columns=Columns(),
                part_rows=PART_ROWS,
            )
        assert (result.scored, result.rows) == (count, count), "every message is scored"

    return work


def _profile(texts: list[str]) -> DriftProfile:
    """Of these texts, with probabilities as they might be."""
    shares = np.random.default_rng(1).random(len(texts))
    table = pd.DataFrame({"split": ["train", "test"] * (len(texts) // 2), "text": texts[: len(texts) // 2 * 2]})
    table["label"] = [LABELS[row // 2 % 2] for row in range(len(table))]
    for label, probabilities in zip(LABELS, (1 - shares, shares), strict=True):
        table[f"probability_{label}"] = probabilities[: len(table)]
    return drift_profile(
        [pa.Table.from_pandas(table)], labels=LABELS, class_counts=dict.fromkeys(LABELS, 1), tokenizer=gpt2_tokenizer()
    )


# Each makes what a job needs, untimed, and returns the job.
JOBS: dict[str, Callable[[list[str], int, Path, str], Callable[[], object]]] = {"predict": _predict, "score": _score}

if __name__ == "__main__":
    name, amount, messages, place = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(name, int(amount), Path(messages), place)) + "\n")
