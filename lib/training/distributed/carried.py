"""Carries checkpoints between the first process of a training, wherever it is, and the machine of the step's process.

They go through the training's mailbox, in pieces, so that nothing need be shared but the cluster.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.files.disk import disk_full_is_clear, into_place
from lib.training.checkpoint import STATE

PIECE = 16 * 2**20  # bytes
PIECES_WAITING = 4  # at most, in the mailbox
LOOK_SECONDS = 0.05
ARRIVING = ".arriving"  # the folder, within the one of checkpoints, in which one is put together


def send(mailbox: Any, folder: Path) -> None:
    """Sends the checkpoint in a folder of a process that trains; returns once the step's process has it."""
    import ray

    files = sorted(folder.glob("checkpoint*"))
    for file in files:
        for piece in _pieces(file):
            while ray.get(mailbox.waiting.remote()) > PIECES_WAITING:
                time.sleep(LOOK_SECONDS)
            ray.get(mailbox.put.remote({"piece": [file.name, piece]}))
    number = uuid.uuid4().hex
    ray.get(mailbox.put.remote({"complete": [[file.name for file in files], number]}))
    _wait_for(mailbox, number)


def fetch(mailbox: Any, folder: Path) -> None:
    """Fetches the last checkpoint, if there is one, into a folder of a process that trains."""
    import ray

    number = uuid.uuid4().hex
    ray.get(mailbox.put.remote({"wanted": number}))
    for name, parts in _wait_for(mailbox, number):
        with (folder / name).open("wb") as stream:
            for part in parts:
                stream.write(ray.get(part))
    mailbox.say.remote(number, None)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


def _wait_for(mailbox: Any, number: str) -> Any:
    import ray

    while (said := ray.get(mailbox.said.remote(number))) is None:
        time.sleep(LOOK_SECONDS)
    return said


class Receiver:
    """Puts together what `send` sends, and answers `fetch`, in the step's process. folder: of checkpoints."""

    def __init__(self, mailbox: Any, folder: Path) -> None:
        self._mailbox, self._folder, self._arriving = mailbox, folder, folder / ARRIVING

    def __call__(self, message: dict[str, Any]) -> bool:
        """Does what a message asks for; returns whether it was about files. Raises StoreError if the disk is full."""
        if "piece" in message:
            self._add(*message["piece"])
        elif "complete" in message:
            self._complete(*message["complete"])
        elif "wanted" in message:
            self._answer(message["wanted"])
        else:
            return False
        return True

    def _add(self, name: str, piece: bytes) -> None:
        self._arriving.mkdir(parents=True, exist_ok=True)
        with disk_full_is_clear(self._folder), (self._arriving / name).open("ab") as stream:
            stream.write(piece)

    def _complete(self, names: list[str], number: str) -> None:
        for name in sorted(names, key=lambda name: name == STATE):  # which points to the others
            into_place(self._arriving / name, self._folder / name)
        for earlier in self._folder.glob("checkpoint-*"):
            if earlier.name not in names:
                earlier.unlink()
        shutil.rmtree(self._arriving, ignore_errors=True)
        self._mailbox.say.remote(number, True)

    def _answer(self, number: str) -> None:
        import ray

        shutil.rmtree(self._arriving, ignore_errors=True)  # half of what an earlier process sent before it was killed
        files = sorted(self._folder.glob("checkpoint*")) if (self._folder / STATE).exists() else []
        self._mailbox.say.remote(number, [(file.name, [ray.put(piece) for piece in _pieces(file)]) for file in files])
