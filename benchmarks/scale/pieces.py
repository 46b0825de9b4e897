"""`python -m benchmarks.scale.pieces`: what parts of steps take for each message, alone.

Some work of a step ends at a stated number of messages (n-grams of 200,000, a baseline of 50,000), so that what whole
steps took says too little of larger sizes, and nothing of which part of a step has how many bytes in memory. Each piece
runs in a process of its own, on the tables that `benchmarks.volume` makes, at two sizes, whose difference is what a
message takes. Writes `benchmarks/results/scale/<machine>.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import volume
from benchmarks.harness import machine, machine_kind
from benchmarks.memory import status_bytes
from benchmarks.workload import PROJECT

RESULTS = PROJECT / "benchmarks" / "results" / "scale"
SIZES = (250_000, 500_000)  # messages of the two homes; both are over all limits of a step's work
LOOK_SECONDS = 0.01

Splits = Mapping[str, Any]
Work = Callable[[], object]


@dataclass(frozen=True)
class Given:
    """What a piece works on. rows: how many of the splits' rows, where that is not all. tokens: the folder with them.
    folder: an empty one."""

    splits: Splits
    rows: int
    tokens: Path
    folder: Path


@dataclass(frozen=True)
class Piece:
    """What a row of a part of a step takes: seconds of the processor and bytes of anonymous memory; which rows."""

    name: str
    rows: str
    sizes: tuple[int, int]
    seconds: float
    memory: float


def _judged(given: Given) -> Work:
    from lib.evaluation.classify.suspects import judged_rows
    from tasks.steps.classify.folds import messages_in

    splits = list(given.splits.values())
    return lambda: messages_in(splits, judged_rows(sum(map(len, splits)), 2))


def _grams(given: Given) -> Work:
    from lib.evaluation.classify.leakage import copies_by_grams

    texts = _texts(given.splits["test"], given.rows)
    halves = {"train": texts[: given.rows // 10], "test": texts[given.rows // 10 :]}
    return lambda: copies_by_grams(halves)


def _baseline(given: Given) -> Work:
    from lib.evaluation.classify.baseline import fit_baseline

    def learned(name: str) -> tuple[list[str], Any]:
        return _texts(given.splits[name], given.rows), given.splits[name].numbers("target")[: given.rows]

    train, validation = learned("train"), learned("validation")
    return lambda: fit_baseline(train, validation, classes=2)


def _evaluation(given: Given) -> Work:
    """All that an evaluation does with numbers: no baseline, and too many messages for n-grams."""
    import matplotlib.figure  # noqa: F401 - imported before the clock runs
    import pandas as pd
    import sklearn.metrics  # noqa: F401

    from lib.evaluation.classify.evaluate import Choices, Facts, write_evaluation
    from lib.files.mapped import Arrays

    generator = np.random.default_rng(1)
    found = {}
    for name, split in given.splits.items():
        right = split.numbers("target")
        sure = np.clip(generator.normal(2.0, 1.5, len(right)), -8, 8)
        own = 1 / (1 + np.exp(-sure))
        found[name] = np.where(right[:, None] == np.arange(2), own[:, None], 1 - own[:, None])
    columns = ("examples_seen", "step", "epoch", "train_loss", "validation_loss", "train_accuracy")
    history = pd.DataFrame({name: [1.0, 2.0] for name in (*columns, "validation_accuracy")})
    facts = Facts(history=history, class_counts={"ham": 7, "spam": 3}, straddling={}, about={})
    choices = Choices(baseline=False)
    return lambda: write_evaluation(
        given.folder,
        splits=given.splits,
        probabilities=found,
        labels=("ham", "spam"),
        facts=facts,
        choices=choices,
        arrays=Arrays(given.folder / "arrays"),
    )


def _training(given: Given) -> Work:
    """Tokens, targets and the order of an epoch, as a training has them in memory."""
    from lib.data.tokens import load_tokens
    from lib.text.windows import lengths_of
    from lib.training.batches import SortedOrder

    def load() -> object:
        split = load_tokens(given.tokens, "test")
        lengths = lengths_of(split.texts)
        order = SortedOrder(lengths, lengths[:1], 32, seed=1)
        return split, order, order.epoch(), order.train_sample(10)

    return load


def _near(given: Given) -> Work:
    from lib.data.messages.keys import NearKeys

    return lambda: NearKeys.of_tables([given.splits["test"]])


def _drawn(given: Given) -> Work:
    """`split.method: published`: rows without texts are shuffled and divided, then written with all texts in memory."""
    from lib.data.messages.split import split_messages
    from lib.data.parts import save_rows
    from lib.data.tables import KEYED_MESSAGES, KEYS

    table = given.splits["test"]

    def split() -> None:
        rows = table.frame(["id", "label", *KEYS.names]).assign(row=np.arange(len(table)))
        made = split_messages(rows, train=0.7, validation=0.1, test=0.2, seed=1, stratify=True, group_duplicates=True)
        for name, divided in made.tables().items():
            save_rows(table, divided["row"].to_numpy(), given.folder / name, KEYED_MESSAGES)

    return split


def _doubts(given: Given) -> Work:
    """Labels doubted by regressions on n-grams, as `cross_validate` does it of 50,000 messages at most."""
    from lib.evaluation.classify.suspects import out_of_fold, text_features

    texts, targets = _texts(given.splits["test"], given.rows), given.splits["test"].numbers("target")[: given.rows]
    return lambda: out_of_fold(text_features(texts), targets, classes=2)


def _answered(given: Given) -> Work:
    """A baseline's answers to the test messages."""
    from lib.evaluation.classify.baseline import fit_baseline

    few = 5_000
    train, validation = (
        (_texts(given.splits[name], few), given.splits[name].numbers("target")[:few])
        for name in ("train", "validation")
    )
    fitted = fit_baseline(train, validation, classes=2)
    texts = _texts(given.splits["test"], given.rows)
    return lambda: fitted.probabilities(texts)


def _profile(given: Given) -> Work:
    """What scored messages are compared with later, from the predictions."""
    from lib.evaluation.classify.predictions import write_predictions
    from lib.evaluation.drift.profile import write_profile
    from lib.text.gpt2 import gpt2_tokenizer

    labels, tokenizer = ("ham", "spam"), gpt2_tokenizer()
    targets = {name: split.numbers("target") for name, split in given.splits.items()}
    sure = {name: np.abs(np.eye(2)[right] - 0.1) for name, right in targets.items()}
    write_predictions(given.folder, given.splits, targets, sure, labels)
    return lambda: write_profile(given.folder, labels=labels, class_counts={"ham": 7, "spam": 3}, tokenizer=tokenizer)


def _search(given: Given) -> Work:
    """Near-duplicates that straddle, by DuckDB, which spills beyond its memory."""
    from lib.data.messages.alike import straddling_by_keys
    from lib.data.queries import Queries

    def ask() -> None:
        with Queries(given.folder / "spill") as queries:
            straddling_by_keys(queries, dict(enumerate(given.splits.values())), "part_of")

    return ask


# Each with what its rows are, and which share of the messages these are; None: the numbers of rows are given.
PIECES: dict[str, tuple[Callable[[Given], Work], str, float | tuple[int, int]]] = {
    "judged": (_judged, "message", 1.0),
    "grams": (_grams, "message", (20_000, 60_000)),
    "baseline": (_baseline, "training message", (5_000, 20_000)),
    "evaluation": (_evaluation, "message", 1.0),
    "training": (_training, "training message", 0.8),
    "near": (_near, "message", 0.8),
    "drawn": (_drawn, "message", 0.8),
    "doubts": (_doubts, "message", (5_000, 20_000)),
    "answered": (_answered, "message", (5_000, 20_000)),
    "profile": (_profile, "message", 1.0),
    "search": (_search, "message", 1.0),
}


def _texts(split: Any, rows: int) -> list[str]:
    texts: list[str] = []
    for batch in split.batches(["text"]):
        texts += batch.column("text").to_pylist()
        if len(texts) >= rows:
            break
    return texts[:rows]


def perform(name: str, home: Path, rows: int) -> dict[str, float]:
    """Runs a piece in this process; returns its seconds, and by how much its memory grew."""
    from lib.data.parts import Parts
    from lib.data.tables import KEYED_SPLIT, SPLITS

    held, tokens = (next((home / "store" / step).glob("[!.]*")) for step in ("holdout", "tokenize"))
    splits = {split: Parts(held / split, KEYED_SPLIT) for split in SPLITS}
    with tempfile.TemporaryDirectory(dir=home) as made:
        work = PIECES[name][0](Given(splits, rows, tokens, Path(made)))
        ended, peak = threading.Event(), 0

        def watch() -> None:
            nonlocal peak
            while not ended.wait(LOOK_SECONDS):
                peak = max(peak, status_bytes("RssAnon"))

        before, clock = status_bytes("RssAnon"), time.process_time()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        kept = work()
        seconds = time.process_time() - clock
        ended.set()
        watcher.join()
        del kept
    return {"seconds": seconds, "memory": peak - before}


def measure(folder: Path, say: Callable[[str], None]) -> list[Piece]:
    """Makes the tables of both sizes and measures all pieces."""
    steps = volume.ALL_STEPS[: volume.ALL_STEPS.index("tokenize") + 1]
    homes = []
    for count in SIZES:
        home = folder / f"{count}"
        if not (home / "store").exists():
            home.mkdir()
            volume.write_messages(home / "messages.csv", count)
            for step in steps:
                volume._performed(step, home, count)
        homes.append(home)
    found = []
    for name, (_, rows, share) in PIECES.items():
        sizes = share if isinstance(share, tuple) else tuple(int(share * size) for size in SIZES)
        of_homes = [homes[1]] * 2 if isinstance(share, tuple) else homes
        took = [_child(name, home, size) for home, size in zip(of_homes, sizes, strict=True)]
        apart = sizes[1] - sizes[0]
        each = {fact: max(0.0, (took[1][fact] - took[0][fact]) / apart) for fact in took[0]}
        found.append(Piece(name, rows, (sizes[0], sizes[1]), **each))
        say(f"{name}: {each['seconds'] * 1e6:.1f} us, {each['memory']:.0f} bytes")
    return found


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _child(name: str, home: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale.pieces"]
    command += ["--piece", name, "--home", f"{home}", "--rows", f"{rows}"]
    environment = {**os.environ, "FINETUNE_HOME": f"{home}"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} of {rows:,} rows ended with {done.returncode}: {done.stderr[-2000:]}")
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return took


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the module says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.pieces")
    parser.add_argument("--folder", type=Path, help="for the messages and the store; two gigabytes")
    for name, kind in (("piece", str), ("home", Path), ("rows", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        sys.stdout.write(json.dumps(perform(options.piece, options.home, options.rows)) + "\n")
        return 0
    facts = machine("cpu")
    file = RESULTS / f"{machine_kind(facts)}.json"
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        pieces = measure(Path(made), _say)
    file.parent.mkdir(parents=True, exist_ok=True)
    # By its number of messages, a run of benchmarks.volume that its own results have not, or not as whole.
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else {}
    results = {"machine": facts, "runs": runs, "pieces": [asdict(piece) for piece in pieces]}
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
