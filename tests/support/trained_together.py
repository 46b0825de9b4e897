"""Trainings that several processes do together; `python -m tests.support.trained_together JOB` is a step's process."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import MessagesError
from lib.files.jsonfile import load_json, save_json
from lib.progress import NOBODY, Listener
from lib.training.distributed.job import Job
from lib.training.distributed.messages import Told

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from lib.training.team import Team
    from lib.training.train import Trained

TRAININGS: dict[str, dict[str, Any]] = {  # of 100 messages or 50 entries, whose last batches are not full
    "messages": {
        "padding": "batch",
        "batch_size": 7,
        "class_weights": (1.0, 2.5),
        "gradient_accumulation": 2,
        "gradient_clip": 1.0,
        "trainable": "all",
        "pooling": "last_token",  # which does not depend on how a share is padded
    },
    "published": {"padding": "longest", "batch_size": 4, "keep": "best"},
    "entries": {"batch_size": 7},
}
LONGER: dict[str, Any] = {  # 48 batches, of which any may be the last before a kill
    "dropout": 0.1,
    "checkpoint_every": 4,
    "epochs": 6,
    "keep": "best",
    "trainable": "last_two_blocks",
}


def job(folder: Path, trainings: Sequence[str], *, processes: int = 2, **more: Any) -> Job:
    """Some of TRAININGS, by several processes; what comes of them lies in folders of their names. `more` goes to each;
    kill: [rank, batches, note] for a process that is killed after so many batches, unless there is this file already;
    pause: seconds that a batch takes longer; wrong: the rank of a process that raises."""
    arguments = {"folder": str(folder), "scratch": str(folder / "scratch"), "trainings": list(trainings), **more}
    return Job(f"{__name__}:part", arguments, processes, "cpu")


def told(listener: Listener = NOBODY) -> Told:
    return Told(listener, lambda level, text: None)


def part(arguments: dict[str, Any], team: Team, listener: Listener) -> None:
    """Does one process's part of a job."""
    fields = dict(arguments)
    folder, scratch = Path(fields.pop("folder")), Path(fields.pop("scratch"))
    if fields.pop("wrong", None) == team.rank:
        raise MessagesError("there is something wrong with a message")
    disturbed = Disturbed(listener, fields.pop("pause", 0.0))
    rank, *when = fields.pop("kill", [None])
    if rank == team.rank:
        disturbed = replace(disturbed, batches=when[0], note=Path(when[1]))
    listener = replace(listener, progress=disturbed)
    if fields.get("sharding") == "full":
        _compute_as_large_ones()
    trainings = fields.pop("trainings")
    for name in trainings:
        its_scratch = scratch if len(trainings) == 1 else scratch / name
        train(name, folder / name, its_scratch, team=team, listener=listener, processes=team.size, **fields)


def _compute_as_large_ones() -> None:
    """Lets the small layers here compute as large ones do, by a `forward` of each one's own, on any processor."""
    import torch

    from lib.model.machine import products

    vars(products).update(LARGE=0, onednn_is_faster=torch.backends.mkldnn.is_available)


@dataclass(frozen=True)
class Disturbed:
    """Hears of a training's progress, slows it, and kills its process after so many batches if that has no note yet."""

    listener: Listener
    pause: float
    batches: int | None = None
    note: Path = Path()

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        self.listener.progress(done, total, unit)
        time.sleep(self.pause)
        if done == self.batches and not self.note.exists():
            self.note.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def train(name: str, folder: Path, scratch: Path, *, team: Any = None, **more: Any) -> Trained:
    """Does one of TRAININGS, alone where there is no team; its weights and its curve go to the folder."""
    from safetensors.torch import save_file

    from lib.training.team import ALONE

    fields, team = {**TRAININGS[name], **more}, team or ALONE
    model, trained = (_entries if name == "entries" else _messages)(scratch, team, fields)
    if team.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(model, folder / "weights.safetensors")
        trained.history.drop(columns="seconds").to_parquet(folder / "history.parquet")
        save_json({"resumed_at": trained.resumed_at, "samples": trained.samples}, folder / "trained.json")
    return trained


def _messages(scratch: Path, team: Team, fields: dict[str, Any]) -> tuple[dict[str, Tensor], Trained]:
    from tests.support import toy_training

    heard = vars(fields.pop("listener", NOBODY))
    of_model = ("trainable", "dropout", "pooling")
    model = toy_training.classifier(**{name: fields.pop(name) for name in of_model if name in fields})
    trained = toy_training.train(model, scratch=scratch, team=team, **{**heard, **fields})
    return model.state_dict(), trained


def _entries(scratch: Path, team: Team, fields: dict[str, Any]) -> tuple[dict[str, Tensor], Trained]:
    from tests.lib.training.instruct import test_finetune as toy

    splits = {"train": toy.entries(50, 0, mask_instruction=True), "validation": toy.entries(11, 1)}
    model = toy.gpt(dropout=fields.pop("dropout", 0.0))
    said = iter(["one", "two", "three"])
    trained = toy.train(model, scratch, splits=splits, sample=lambda: next(said), team=team, **fields)
    return toy.weights(model), trained


def weights_in(folder: Path) -> dict[str, Tensor]:
    """What the first process kept."""
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


def history_in(folder: Path) -> pd.DataFrame:
    """The curve, without seconds."""
    import pandas as pd

    return pd.read_parquet(folder / "history.parquet")


def assert_same(folder: Path, other: Path) -> None:
    """Two trainings came to the same bits."""
    import torch

    theirs = weights_in(other)
    for name, weight in weights_in(folder).items():
        assert torch.equal(weight, theirs[name]), name
    assert history_in(folder).equals(history_in(other))


def resumed_at(folder: Path) -> int | None:
    """After how many batches the last start went on."""
    found: int | None = load_json(folder / "trained.json")["resumed_at"]
    return found


def main(work: str) -> int:
    """Trains as a step does; prints how many batches are done."""
    from flows.terminal.exits import exit_status_of
    from lib.training.distributed.launch import train_together

    def progress(done: int, total: int | None, unit: str) -> None:
        print(done, flush=True)  # noqa: T201 - which the test reads

    def work_together() -> int:
        train_together(Job(**json.loads(work)), told(Listener(progress=progress)))
        return 0

    return exit_status_of(work_together)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
