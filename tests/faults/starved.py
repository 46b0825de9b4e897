"""Works in a process that is short of something, and prints what came of it as JSON: one line for each try.

`writes`: a classifier's steps, each time with another write that fails; `outputs`: scoring and export. `memory`: a
training within little memory. `files`: the steps with 64 open files.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from lib.errors import FinetuneError, StoreError
from lib.files.checksum import file_sha256
from lib.files.disk import remove
from lib.progress import NOBODY
from lib.store.folder import FolderStore
from tasks.environment import require_room
from tests.support.failing import failing
from tests.support.steps import STEPS, performed, recipe_for, write_data

OPEN_FILES = 64
MODES = ("once", "lasting")
KEPT = {".locks", ".scratch", ".lock"}  # what a run may leave: locks, and what the next goes on from


def writes(folder: str, tries: str, seed: str, error: str) -> None:
    """Fails writes of the steps: `tries` of them, chosen by `seed`, with the number `error`, the chosen one alone and
    all from it on in turn."""
    recipe = recipe_for(write_data(Path(folder), {}), "scratch", training={"epochs": 1, "checkpoint_every": 3})
    home = Path(folder, "home")

    def run() -> dict[str, str]:
        return {name: made.digest for name, made in performed(FolderStore(home), recipe, STEPS).items()}

    _fail_each(home, run, int(tries), random.Random(int(seed)), int(error))


def outputs(folder: str, tries: str, seed: str, error: str) -> None:
    """Fails writes of scoring a file and of exporting a model, as `writes` does."""
    from lib.export.hugging_face import export_follower
    from lib.inference.predictor import Predictor
    from lib.scoring.inputs import find_inputs
    from lib.scoring.parts import Output
    from lib.scoring.places import Folder
    from lib.scoring.result import Model
    from lib.scoring.rows import Columns
    from lib.scoring.score import score

    data, home = write_data(Path(folder), {}), Path(folder, "home")
    made = performed(FolderStore(Path(folder, "store")), recipe_for(data, "scratch", training={"epochs": 1}), STEPS)
    classifier = made["finetune"].folder
    predictor = Predictor.load(classifier, device="cpu")
    model = Model("toy", "1", "the one", predictor.labels)

    def scored() -> dict[str, str]:
        with Output(Folder(home)).opened() as opened:
            files = find_inputs([str(data)], format=None, without=home)
            how: dict[str, Any] = {"model": model, "predictor": lambda: predictor, "profile": None}
            score(files, opened, **how, columns=Columns("text", None), part_rows=20)
        return {path.name: file_sha256(path) for path in home.rglob("*.parquet")}

    def exported() -> dict[str, str]:
        remove(home / "model")
        export_follower(classifier, home / "model")
        return {path.name: file_sha256(path) for path in (home / "model").iterdir()}

    for run in (scored, exported):
        _fail_each(home, run, int(tries), random.Random(int(seed)), int(error))


def _fail_each(home: Path, run: Callable[[], dict[str, str]], tries: int, draw: random.Random, error: int) -> None:
    """Tells what becomes of `run`, which writes into `home`, and of the next, where writes fail."""
    remove(home)
    with failing(home, at=0) as all_of_them:
        expected = run()
    for number in range(tries):
        remove(home)
        mode, at = MODES[number % 2], draw.randint(1, all_of_them.count)
        lost, started = "", time.monotonic()
        try:
            with failing(home, at=at, number=error, lasting=mode == "lasting") as failed:
                run()
        except StoreError:
            pass
        except BaseException as other:
            lost = f"{type(other).__name__} {other} instead of one sentence"
        seconds = time.monotonic() - started
        half = [str(path) for path in home.rglob(".?*") if path.name not in KEPT and not KEPT & {*path.parts}]
        lost = lost or (f"{half[0]} was left" if half else "")
        lost = lost or ("" if run() == expected else "the next run came to something else")
        tell(f"{mode}, write {at} of {all_of_them.count}: {failed.failed}", lost, seconds)


def memory(megabytes: str) -> None:
    """Trains within so much memory more than the process has, and then again with all there is."""
    from lib.model.classifier import new_classifier
    from lib.model.gpt2.gpt import new_gpt
    from lib.model.gpt2.pooled import PooledGPT
    from lib.model.gpt2.sizes import GPTConfig
    from lib.training.batches import EncodedMessages
    from tests.support.toy_training import classifier, train

    shape = GPTConfig(context_length=256, emb_dim=64, n_heads=4, n_layers=2)
    texts = np.random.default_rng(0).integers(0, 50_000, (64, 200)).tolist()
    split = EncodedMessages(texts, [0, 1] * 32)
    said: list[str] = []

    def losses() -> list[float]:
        network = PooledGPT(new_gpt(shape, seed=1), pooling="mean")
        model = new_classifier(network, ("ham", "spam"), trainable="all", seed=1)
        fields: dict[str, Any] = {"padding": "batch", "batch_size": 64, "max_length": 256, "epochs": 1}
        history = train(
            model, train=split, validation=split, evaluate_every=1, learning_rate=1e-4, remark=said.append, **fields
        ).history
        return [float(loss) for loss in (*history.train_loss, *history.validation_loss)]

    train(classifier(), epochs=1)  # what is loaded at its first use is loaded now
    with within(resource.RLIMIT_AS, _address_space() + int(float(megabytes) * 1e6)):
        found, sentence = refused(losses)
    if sentence:
        tell(sentence, "" if "memory is too small for" in sentence else sentence)
        return
    assert found is not None
    expected = losses()
    apart = max(abs(one - other) for one, other in zip(found, expected, strict=True))
    lost = "" if len(said) == 1 and apart < 1e-5 else f"it said {said}, and the losses are {apart} apart"
    tell(f"{said}", lost)


def files(folder: str) -> None:
    """Runs the steps with few open files; a limit of this process alone is raised, and too low a one of the system is
    one sentence."""
    recipe = recipe_for(write_data(Path(folder), {}), "scratch", training={"epochs": 1})

    def run() -> None:
        require_room()  # as every step does
        performed(FolderStore(Path(folder, "home")), recipe, STEPS)

    for soft, hard in ((OPEN_FILES // 4, OPEN_FILES), (OPEN_FILES // 2, OPEN_FILES // 2)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        _, sentence = refused(run)
        tell(sentence or "it works", sentence if hard == OPEN_FILES else "")


class within:  # noqa: N801 - a function of the kind of contextlib's, which would hold the error's frames
    """Inside the block this process has a lower limit."""

    def __init__(self, kind: int, limit: int) -> None:
        self.kind, self.limit, self.before = kind, limit, resource.getrlimit(kind)

    def __enter__(self) -> None:
        gc.collect()
        resource.setrlimit(self.kind, (self.limit, self.before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(self.kind, self.before)


def refused(work: Callable[[], Any]) -> tuple[Any, str]:
    """Returns what the work comes to, and the sentence of what ended it, where something did."""
    try:
        return work(), ""
    except FinetuneError as error:
        return None, str(error)


def tell(what: str, lost: str, seconds: float | None = None) -> None:
    """Prints the outcome of a try."""
    print(json.dumps({"what": what, "lost": lost, "seconds": seconds}), flush=True)  # noqa: T201


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(name: str, *arguments: str) -> None:
    """Does what the first argument names."""
    logging.disable(logging.WARNING)
    with patch("tasks.steps.together.watched", lambda work, step: nullcontext(NOBODY)):
        works: dict[str, Callable[..., None]] = {"writes": writes, "outputs": outputs, "memory": memory, "files": files}
        works[name](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
