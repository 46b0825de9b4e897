"""Row "growth": features, training and prediction for 1, 10 and 100 times as many messages, with the tiny model.

Each amount runs in a process of its own (`python -m benchmarks.growth JOB COUNT SOURCE`), which prints seconds and its
peak memory. Messages beyond the first lot are the same texts with their words in another order, so that lengths stay.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.harness import Measured, Row, Target, seconds
from benchmarks.memory import peak_bytes
from benchmarks.ours import features, new_model, predictor, train
from benchmarks.workload import PROJECT, Amounts, Bench, Split, Workload
from lib.model.gpt2.sizes import SIZES
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokens import tokenize

GROUP = "growth"
TIMES = (1, 10, 100)
REPEATS = {1: 5, 10: 3, 100: 1}  # the short ones more often: the median counts
AT_MOST_TIME = 1.15  # time per message, 100x against 1x
AT_MOST_MEMORY = 1.2  # peak memory of prediction, 100x against 1x
EVALUATED = 64  # validation messages of the training


def rows(bench: Bench) -> Iterator[Row]:
    """Measure each job at each amount; time per message for all, peak memory for prediction."""
    unit = bench.amounts.growth_unit
    source = bench.folder / "growth.json"
    source.write_text(json.dumps(bench.workload.messages.texts[:unit]), encoding="utf-8")
    for job in JOBS:
        results = {}
        for times in TIMES:
            bench.say(f"growth: {job}, {times * unit:,} messages")
            results[times] = _run(job, times, unit, source, bench.device)
        micros = {times: result["seconds"] / (times * unit) * 1e6 for times, result in results.items()}
        peaks = {times: result["peak_bytes"] / 1e6 for times, result in results.items()}
        details = {"microseconds_per_message": micros, "peak_megabytes": peaks, "unit": unit}
        yield _row(f"{job}: time per message, 100x against 1x", micros, "us", unit, AT_MOST_TIME, bench, details)
        at_most = AT_MOST_MEMORY if job == "prediction" else None
        yield _row(f"{job}: peak memory, 100x against 1x", peaks, "MB", unit, at_most, bench, details)


def _row(
    what: str,
    amounts: dict[int, float],
    measure: str,
    unit: int,
    at_most: float | None,
    bench: Bench,
    details: dict[str, object],
) -> Row:
    ratio = amounts[100] / amounts[1]
    judged = at_most is not None and bench.judged
    return Row(
        GROUP,
        what,
        Measured(f"{100 * unit:,} messages", amounts[100], measure, f"10x: {amounts[10]:.4g} {measure}"),
        Measured(f"{unit:,} messages", amounts[1], measure),
        ratio,
        Target(f"at most {at_most:g}x", ratio <= at_most) if judged and at_most is not None else None,
        details=dict(details),
        better="lower",
    )


def _run(job: str, times: int, unit: int, source: Path, device: str) -> dict[str, float]:
    """What a process of its own printed."""
    command = [sys.executable, "-m", "benchmarks.growth", job, str(times), str(unit), str(source), device]
    printed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    return result


def texts_without_end(texts: list[str]) -> Iterator[str]:
    """The texts, then the same ones with their words shuffled, again and again; always the same."""
    yield from texts
    draw = random.Random(1)
    while True:
        for text in texts:
            words = text.split(" ")
            draw.shuffle(words)
            yield " ".join(words)


def measure(job: str, times: int, unit: int, source: Path, device: str) -> dict[str, float]:
    """Seconds (the median of some runs, after one on few messages) and peak bytes of this process."""
    texts = json.loads(source.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        work = JOBS[job](texts, times * unit, Path(folder), device)
        work(min(unit, 64))
        elapsed = median(seconds(lambda: work(times * unit)) for _ in range(REPEATS[times]))
    return {"seconds": elapsed, "peak_bytes": peak_bytes()}


def _messages(texts: list[str], count: int) -> Split:
    """So many messages; the class goes by the position."""
    drawn = list(islice(texts_without_end(texts), count))
    tokens = tokenize(drawn, gpt2_tokenizer(), max_length=SIZES["tiny"].context_length)
    return Split(drawn, tokens, [position % 2 for position in range(count)])


def _bench(split: Split, folder: Path, device: str) -> Bench:
    workload = Workload("", {}, max(map(len, split.tokens)), [])
    return Bench(workload, SIZES["tiny"], Amounts(epochs=1), device, folder)


def _features(texts: list[str], count: int, folder: Path, device: str) -> Callable[[int], object]:
    split = _messages(texts, count)
    bench, model = _bench(split, folder, device), new_model(SIZES["tiny"])
    return lambda some: features(bench, model, split.first(some), folder / "features", precision="float32")


def _training(texts: list[str], count: int, folder: Path, device: str) -> Callable[[int], object]:
    split = _messages(texts, count)
    bench, model = _bench(split, folder, device), new_model(SIZES["tiny"])
    few = split.first(EVALUATED)
    made = {
        some: features(bench, model, split.first(some), folder / f"features-{some}", precision="float32")
        for some in {count, min(count, EVALUATED)}
    }

    def work(some: int) -> None:
        known = made[count] if some == count else made[min(count, EVALUATED)]
        splits = {"train": split.first(len(known)), "validation": few}
        inputs = {"train": known, "validation": made[min(count, EVALUATED)]}
        train(bench, new_model(SIZES["tiny"]), splits, inputs, precision="float32")

    return work


def _prediction(texts: list[str], count: int, folder: Path, device: str) -> Callable[[int], object]:  # noqa: ARG001
    width = SIZES["tiny"].context_length
    predicting = predictor(
        Bench(Workload("", {}, width, []), SIZES["tiny"], Amounts(), device, folder), precision="float32"
    )

    def work(some: int) -> None:
        for _ in predicting.predict(islice(texts_without_end(texts), some)):
            pass

    return work


# Each makes what a job needs, untimed, and returns the job, which takes how many messages to do.
JOBS: dict[str, Callable[[list[str], int, Path, str], Callable[[int], object]]] = {
    "features": _features,
    "training": _training,
    "prediction": _prediction,
}

if __name__ == "__main__":
    job, times, unit, source, device = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(job, int(times), int(unit), Path(source), device)) + "\n")
