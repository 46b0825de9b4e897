"""`python -m benchmarks.volume [COUNT ...]`: each step of a classifier's flow on more and more messages.

Every step runs in a process of its own, which tells its processor time and its peak memory: anonymous memory is what a
machine must have, and the pages of mapped files come on top where there is room. The messages are made of words without
meaning, ten to sixteen each, and a tenth of them is learned from; the model is the tiny one. `publish` is the flow from
a terminal that finds all steps' artifacts, reads every byte of them, records, and registers the classifier with its
frozen test set. Prints a table, and writes JSON, a picture, the table of docs/performance.md, and what follows from
it in docs/scale.md; `--redraw` makes these anew from the JSON. The row "volume" of `python -m benchmarks` runs fewer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.harness import Measured, Row, Target, limit_row, machine, machine_kind
from benchmarks.memory import peak_bytes, status_bytes
from benchmarks.workload import PROJECT, Bench

GROUP = "volume"
RESULTS = PROJECT / "benchmarks" / "results" / "volume"
PICTURE = PROJECT / "docs" / "images" / "volume.png"
PAGE = PROJECT / "docs" / "performance.md"
BEGIN, END = "<!-- volume: made by python -m benchmarks.volume -->", "<!-- end of volume -->"
COUNTS = (10_000, 100_000, 1_000_000, 10_000_000)
UNITS = (20, 200)  # of `growth_unit`, for the row: 10,000 and 100,000 messages where that is 500
TABLES = ("messages", "balance", "split", "holdout", "tokenize")  # the steps that make tables
ALL_STEPS = (
    *("download", "messages", "balance", "split", "holdout", "tokenizer", "tokenize", "backbone"),
    *("features", "finetune", "engine", "cross_validate", "evaluate"),
)
PUBLISH = "publish"
MEASURED = (*ALL_STEPS, PUBLISH)
PAPER = 100_000_000  # messages, for which the largest amount is multiplied
ALLOWED_MEGABYTES = 4000.0  # for 10 million messages
TABLE_MEGABYTES = 1000.0  # for the tables of 2 million
GROWTH = 1.15  # time per message
AT_ONCE = 100_000  # messages that are made at once
LOOK_SECONDS = 0.02  # between two looks at a process's memory
RECIPE = "quickstart"
SYLLABLES = [f"{one}{two}" for one, two in zip("bcdfghjklmnprstvwxyz", 4 * "aeiou", strict=True)]
SIGNAL = 40  # words of each label, of which a message has one in two

Json = dict[str, Any]


@dataclass(frozen=True)
class StepRun:
    """What a step took: seconds of the processor and by the clock, and peaks and the artifact's size in bytes."""

    step: str
    processor: float
    seconds: float
    anonymous: int
    resident: int
    size: int
    rows: int


Say = Callable[[StepRun], None]


def rows(bench: Bench) -> Iterator[Row]:
    """Measure two amounts: time per message of the tables, and peak memory of all steps."""
    few, many = (units * bench.amounts.growth_unit for units in UNITS)
    found = {}
    for count in (few, many):
        bench.say(f"volume: {count:,} messages")
        found[count] = measure(count, bench.folder)
    micros = {count: _table_seconds(runs) / count * 1e6 for count, runs in found.items()}
    ratio = micros[many] / micros[few]
    details = {f"{count}": [asdict(run) for run in runs] for count, runs in found.items()}
    yield Row(
        GROUP,
        f"tables of {many:,} messages: processor time per message",
        Measured(f"{many:,} messages", micros[many], "us"),
        Measured(f"{few:,} messages", micros[few], "us"),
        ratio,
        Target(f"at most {GROWTH:g}x", ratio <= GROWTH) if bench.judged else None,
        details=details,
        better="lower",
    )
    peak = max(found[many], key=lambda run: run.anonymous)
    yield limit_row(
        GROUP,
        f"whole flow of {many:,} messages: peak memory",
        Measured(f"step {peak.step}", peak.anonymous / 1e6, "MB"),
        ALLOWED_MEGABYTES,
        judged=bench.judged,
        details=details,
    )


def measure(count: int, folder: Path, steps: Sequence[str] = MEASURED, say: Say = lambda run: None) -> list[StepRun]:
    """Runs the steps one after another, each in a process of its own, on `count` messages."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        home = Path(made)
        write_messages(home / "messages.csv", count)
        found = []
        for step in steps:
            found.append(publish(home, count) if step == PUBLISH else _performed(step, home, count))
            say(found[-1])
        return found


def _performed(step: str, home: Path, count: int) -> StepRun:
    command = [sys.executable, "-m", "benchmarks.volume", "--step", step, "--home", f"{home}"]
    environment = {**os.environ, "FINETUNE_HOME": f"{home}"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{step} of {count:,} messages ended with {done.returncode}: {done.stderr[-2000:]}")
    return StepRun(**json.loads(done.stdout.splitlines()[-1]))


def publish(home: Path, count: int) -> StepRun:
    """Runs the flow from a terminal on a home that has the artifacts of all its steps."""
    changes = [f"--{field}={value}" for field, value in _changes(home / "messages.csv").items()]
    command = [sys.executable, "-m", "flows", "classify", "--recipe", RECIPE, *changes, "--json"]
    environment = {**os.environ, "FINETUNE_HOME": f"{home}"}
    began, anonymous, resident = time.monotonic(), 0, 0
    with tempfile.TemporaryFile(mode="w+") as said, tempfile.TemporaryFile(mode="w+") as log:
        run = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=said, stderr=log)
        while True:
            ended, status, used = os.wait4(run.pid, os.WNOHANG)
            if ended:
                break
            anonymous, resident = (
                max(before, status_bytes(field, run.pid))
                for before, field in ((anonymous, "RssAnon"), (resident, "VmHWM"))
            )
            time.sleep(LOOK_SECONDS)
        run.returncode = os.waitstatus_to_exitcode(status)
        for output in (said, log):
            output.seek(0)
        if run.returncode:
            raise RuntimeError(f"publish of {count:,} messages ended with {run.returncode}: {log.read()[-2000:]}")
        states = {step["step"]: step["state"] for step in json.loads(said.read().splitlines()[-1])["steps"]}
    if made := [step for step in ALL_STEPS if states.get(step) != "cached"]:
        raise RuntimeError(f"publish made {', '.join(made)} anew")
    return StepRun(
        PUBLISH,
        processor=used.ru_utime + used.ru_stime,
        seconds=time.monotonic() - began,
        anonymous=anonymous,
        resident=resident,
        size=sum(file.stat().st_size for file in (home / "mlartifacts").rglob("*") if file.is_file()),
        rows=count,
    )


def write_messages(file: Path, count: int) -> None:
    """Writes a table of labels and texts; the same for the same count."""
    draw = np.random.default_rng(1)
    words = np.array([f"{one}{two}{three}" for one in SYLLABLES for two in SYLLABLES for three in SYLLABLES])
    with file.open("w", encoding="utf-8") as out:
        out.write("label,text\n")
        for first in range(0, count, AT_ONCE):
            size = min(AT_ONCE, count - first)
            lengths = draw.integers(10, 17, size)
            drawn = words[draw.integers(2 * SIGNAL, len(words), int(lengths.sum()))]
            spam = draw.random(size) < 0.3
            drawn[np.cumsum(lengths) - 1] = words[draw.integers(0, SIGNAL, size) + SIGNAL * spam]
            ends = np.cumsum(lengths).tolist()
            lines = []
            begin = 0
            for end, is_spam in zip(ends, spam.tolist(), strict=True):
                lines.append(f"{'spam' if is_spam else 'ham'},{' '.join(drawn[begin:end])}\n")
                begin = end
            out.writelines(lines)


def perform(step: str, home: Path) -> StepRun:
    """Makes a step's artifact in this process; those before it are there."""
    from lib.progress import silent
    from lib.store.artifacts import key_of
    from lib.store.folder import FolderStore
    from lib.store.warnings import WARNINGS
    from tasks.engine.step import Work

    made: dict[str, Any] = {}
    chain = _chain()
    store = FolderStore(home / "store")
    recipe = _recipe(home / "messages.csv")
    for each in chain[: ALL_STEPS.index(step)]:
        # Not `find`, which reads every file again: what that takes is no part of this step.
        key = key_of(each.ingredients(recipe, {name: made[name] for name in each.inputs}))
        made[each.name] = _as_it_is(store, each.name, key)
    last = chain[ALL_STEPS.index(step)]
    inputs = {name: made[name] for name in last.inputs}
    ingredients = last.ingredients(recipe, inputs)
    key = key_of(ingredients)
    noted = (*last.noted, WARNINGS)
    with _watched() as seen, _no_page(), store.write(last.name, key, ingredients, noted=noted) as folder:
        work = Work(
            recipe=recipe,
            whole_recipe=recipe.model_dump(mode="json"),
            folder=folder,
            scratch=store.scratch(last.name, key),
            log=_quiet(),
            progress=silent,
            tracking_run="",
            identity=ingredients.get("identity", {}),
        )
        last.compute(work, **inputs)
    return StepRun(step, rows=_rows_of(home / "messages.csv"), size=store.manifest(last.name, key).size, **seen)


@contextmanager
def _no_page() -> Iterator[None]:
    """Leaves out Prefect's page, for which a step outside a flow would start a server."""
    from tasks.record.live import PrefectProgress

    with patch.object(PrefectProgress, "_show"):
        yield


@contextmanager
def _watched() -> Iterator[dict[str, Any]]:
    """Fills in what the block takes; its peak of anonymous memory is looked for fifty times a second."""
    seen: dict[str, Any] = {}
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(LOOK_SECONDS):
            peak = max(peak, status_bytes("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    processor, clock = time.process_time(), time.monotonic()
    yield seen
    seen |= {"processor": time.process_time() - processor, "seconds": time.monotonic() - clock}
    ended.set()
    watcher.join()
    seen |= {"anonymous": max(peak, status_bytes("RssAnon")), "resident": peak_bytes()}


def _recipe(file: Path) -> Any:
    from lib.recipes.classify import ClassifyRecipe
    from lib.recipes.reading import load_recipe

    return load_recipe(RECIPE, _changes(file), folder="classify", model=ClassifyRecipe)


def _changes(file: Path) -> dict[str, str]:
    return {
        "data.source": "file",
        "data.url": f"{file}",
        "data.format": "csv",
        "data.text_column": "text",
        "data.label_column": "label",
        "split.method": "hashed",
        "split.train": "0.1",
        "split.validation": "0.1",
        "split.test": "0.8",
        "balance.method": "none",
        "training.epochs": "1",
        "training.device": "cpu",
    }


def _chain() -> list[Any]:
    from flows.use_cases.classify import CLASSIFY

    by_name = {step.name: step for step in CLASSIFY.all_steps}
    return [by_name[name] for name in ALL_STEPS]


def _as_it_is(store: Any, step: str, key: str) -> Any:
    from lib.store.artifacts import Artifact

    return Artifact(step=step, key=key, digest=store.manifest(step, key).digest).in_folder(store.root / step / key)


def _quiet() -> Any:
    import logging

    log = logging.getLogger("benchmarks.volume")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    return log


def _rows_of(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(piece.count(b"\n") for piece in iter(lambda: lines.read(2**20), b"")) - 1


def _table_seconds(runs: Sequence[StepRun]) -> float:
    return sum(run.processor for run in runs if run.step in TABLES)


def table(results: Json) -> str:
    """The page's table: for each step and amount microseconds of the processor per message, and the peak."""
    counts = sorted(map(int, results["counts"]))
    lines = ["| step | " + " | ".join(f"{count:,}" for count in counts) + " |", "|---" * (len(counts) + 1) + "|"]
    by = {(count, run["step"]): run for count in counts for run in results["counts"][f"{count}"]}
    for step in (step for step in MEASURED if any((count, step) in by for count in counts)):
        cells = [_cell(by.get((count, step)), count) for count in counts]
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    sums = [sum(by[count, step]["processor"] for step in TABLES if (count, step) in by) for count in counts]
    lines.append("| the five tables | " + " | ".join(f"{seconds:,.1f} s" for seconds in sums) + " |")
    complete = [count for count in counts if len(results["counts"][f"{count}"]) == len(MEASURED)]
    whole = {count: results["counts"][f"{count}"] for count in complete}
    shown: dict[str, Callable[[Sequence[Json]], str]] = {
        "all": lambda runs: f"{sum(run['processor'] for run in runs) / 60:,.1f} min",
        "highest peak": lambda runs: f"{max(run['anonymous'] for run in runs) / 2**20:,.0f} MiB",
        "on the disk": lambda runs: f"{sum(run['size'] for run in runs) / 1e9:,.2f} GB",
    }
    for name, say in shown.items():
        cells = [say(whole[count]) if count in whole else "" for count in counts]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    paper = f"\n\n{_on_paper(results['counts'][f'{counts[-1]}'], counts[-1])}" if counts[-1] in whole else ""
    return "\n".join(lines) + paper


def _on_paper(runs: Sequence[Json], count: int) -> str:
    """A sentence on many more messages than were tried, at the largest amount's rates."""
    times = PAPER / count
    tables, every = (
        sum(run["processor"] for run in runs if run["step"] in steps) * times / 3600 for steps in (TABLES, MEASURED)
    )
    size = sum(run["size"] for run in runs) * times
    return (
        f"On paper, {PAPER:,} messages at the rates of {count:,}: {tables:,.1f} hours of the processor for the five"
        f" tables, {every:,.1f} for all, and {size / 1e9:,.0f} GB on the disk."
    )


def _cell(run: Mapping[str, Any] | None, count: int) -> str:
    if run is None:
        return ""
    return f"{run['processor'] / count * 1e6:,.1f} us<br>{run['anonymous'] / 2**20:,.0f} MiB"


def draw(results: Json, file: Path) -> None:
    """Draws processor time per message and peak memory of each step against the number of messages."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    times, peaks = figure.subplots(1, 2)
    counts = sorted(map(int, results["counts"]))
    for step in (step for step in MEASURED if step not in ("download", "tokenizer", "backbone", "features")):
        points = [(count, run) for count in counts for run in results["counts"][f"{count}"] if run["step"] == step]
        if not points:
            continue
        where = [count for count, _ in points]
        times.plot(where, [run["processor"] / count * 1e6 for count, run in points], marker="o", label=step)
        peaks.plot(where, [run["anonymous"] / 2**20 for _, run in points], marker="o", label=step)
    for axis, title in ((times, "processor time, us a message"), (peaks, "peak of anonymous memory, MiB")):
        axis.set(xscale="log", yscale="log", xlabel="messages", title=title)
        axis.grid(alpha=0.3)
    peaks.axhline(4000e6 / 2**20, color="black", linestyle=":", linewidth=1)
    figure.legend(*times.get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(file, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the module says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.volume")
    parser.add_argument("counts", nargs="*", type=int, metavar="COUNT")
    parser.add_argument("--step", choices=ALL_STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="for the messages and the store, some kilobytes a message")
    parser.add_argument("--steps", default=",".join(MEASURED), help="those to run, the first ones of the flow")
    parser.add_argument("--redraw", action="store_true", help="only the picture and the page, from the stored results")
    options = parser.parse_args(arguments)
    if options.step:
        sys.stdout.write(json.dumps(asdict(perform(options.step, options.home))) + "\n")
        return 0
    facts = machine("cpu")
    file = RESULTS / f"{machine_kind(facts)}.json"
    results: Json = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"counts": {}}
    if not options.redraw:
        for count in options.counts or COUNTS:
            free = shutil.disk_usage(options.folder or tempfile.gettempdir()).free
            sys.stderr.write(f"{count:,} messages, {free / 1e9:.0f} GB of disk are free\n")
            runs = measure(count, options.folder or Path(tempfile.gettempdir()), options.steps.split(","), _say)
            results["machine"] = facts
            results["counts"][f"{count}"] = [asdict(run) for run in runs]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(results, PICTURE)
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    from benchmarks.scale.page import write_page  # here, because it reads these results

    write_page()
    sys.stdout.write(table(results) + "\n")
    return 0


def page_with_table(page: str, results: Json) -> str:
    """Returns the page with the table of these results in its place; raises ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} needs the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{table(results)}\n\n{end}{after}"


def _say(run: StepRun) -> None:
    sys.stderr.write(
        f"  {run.step}: {run.processor:.1f} s of the processor, {run.seconds:.1f} s,"
        f" {run.anonymous / 2**20:.0f} MiB anonymous, {run.resident / 2**20:.0f} MiB resident\n"
    )


if __name__ == "__main__":
    sys.exit(main())
