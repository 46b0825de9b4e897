"""Row "prediction": texts in, probabilities out; ours against one text at a time, and a pipeline of `transformers`."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import cycle, islice

import torch

from benchmarks.harness import Measured, Row, Target, ratio_row, require_same, seconds
from benchmarks.ours import new_model, predict, predictor
from benchmarks.padded import PaddedClassifier, classify_one_at_a_time
from benchmarks.workload import Bench

GROUP = "prediction"
GPU_MESSAGES = 50_000  # a second, to exceed on a GPU of the H200 class
CHECKED = 16  # texts whose probabilities are compared


def rows(bench: Bench) -> Iterator[Row]:
    """Measure ours in both precisions, and each other side on fewer texts of the same kind."""
    texts = list(islice(cycle(bench.workload.messages.texts), bench.amounts.predicted))
    same = one_at_a_time_computes_the_same(bench)
    ours: dict[str, Measured] = {}
    for precision in ("float32", "bfloat16"):
        bench.say(f"prediction: ours, {precision}")
        predicting = predictor(bench, precision=precision)
        predict(predicting, texts[:CHECKED])
        rate = len(texts) / seconds(lambda: predict(predicting, texts))  # noqa: B023 - called at once
        ours[precision] = Measured(
            f"sorted windows, batches by tokens, {precision}", rate, "messages/s", f"{len(texts)} texts"
        )
    bench.say("prediction: one text at a time")
    model = PaddedClassifier(new_model(bench.config)).to(bench.device)
    few = texts[: bench.amounts.one_at_a_time]
    for precision, measured in ours.items():
        run = {"width": bench.workload.width, "device": bench.device, "precision": precision}
        classify_one_at_a_time(model, few[:2], **run)  # type: ignore[arg-type]
        rate = len(few) / seconds(lambda: classify_one_at_a_time(model, few, **run))  # type: ignore[arg-type] # noqa: B023
        what = f"one text at a time, padded to {bench.workload.width}, {precision}"
        row = ratio_row(
            GROUP,
            f"prediction in {precision}, against one text at a time",
            measured,
            Measured(what, rate, "messages/s", f"the first {len(few)} of these texts"),
            at_least=8.0 if bench.judged and precision == "float32" else None,
            same=same,
        )
        yield _on_gpu(row, bench, precision)
    if find_spec("transformers") is None:
        bench.say("prediction against a pipeline is skipped: transformers is not installed")
        return
    yield from against_pipeline(bench, ours, texts)


def against_pipeline(bench: Bench, ours: dict[str, Measured], texts: list[str]) -> Iterator[Row]:
    """Ours against the text-classification pipeline with batches of 32 and dynamic padding."""
    from benchmarks.hugging_face import PIPELINE_BATCH, classify, pipeline

    same = pipeline_computes_the_same(bench)
    some = texts[: bench.amounts.pipeline]
    for precision, measured in ours.items():
        bench.say(f"prediction: the pipeline, {precision}")
        classifying = pipeline(
            new_model(bench.config), width=bench.workload.width, device=bench.device, precision=precision
        )
        classify(classifying, some[:CHECKED])
        rate = len(some) / seconds(lambda: classify(classifying, some))  # noqa: B023 - called at once
        what = f"transformers' pipeline, batches of {PIPELINE_BATCH}, dynamic padding, {precision}"
        yield ratio_row(
            GROUP,
            f"prediction in {precision}, against a pipeline",
            measured,
            Measured(what, rate, "messages/s", f"the first {len(some)} of these texts"),
            at_least=2.0 if bench.judged and precision == "float32" else None,
            same=same,
        )


def one_at_a_time_computes_the_same(bench: Bench) -> str:
    """The probabilities of some texts, from ours and one at a time."""
    texts = bench.workload.messages.texts[:CHECKED]
    other = classify_one_at_a_time(
        PaddedClassifier(new_model(bench.config)).to(bench.device),
        texts,
        width=bench.workload.width,
        device=bench.device,
        precision="float32",
    )
    ours = predict(predictor(bench, precision="float32"), texts)
    return require_same("probabilities in float32", torch.tensor(ours), torch.tensor(other))


def pipeline_computes_the_same(bench: Bench) -> str:
    """The probabilities of some texts, from ours and from the pipeline."""
    from benchmarks.hugging_face import classify, pipeline

    texts = bench.workload.messages.texts[:CHECKED]
    theirs = pipeline(new_model(bench.config), width=bench.workload.width, device=bench.device, precision="float32")
    ours = predict(predictor(bench, precision="float32"), texts)
    return require_same("probabilities in float32", torch.tensor(ours), torch.tensor(classify(theirs, texts)))


def _on_gpu(row: Row, bench: Bench, precision: str) -> Row:
    """The row with the target for the absolute rate, where it is one for a GPU."""
    if bench.device == "cpu" or precision != "bfloat16":
        return row
    reached = row.ours.amount > GPU_MESSAGES
    return Row(**{**vars(row), "target": Target(f"over {GPU_MESSAGES:,} messages/s", reached)})
