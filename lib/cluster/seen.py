"""Tells whether a worker sees the folders that a run works in."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lib.errors import ClusterError


@dataclass(frozen=True)
class Note:
    """A file that a run has left in its folder, with what is in it."""

    file: Path
    nonce: str


@contextmanager
def noted(folder: Path) -> Iterator[Note]:
    """Leaves a note in a folder for the time of the block."""
    nonce = uuid.uuid4().hex
    note = Note(folder / f".seen-{nonce}", nonce)
    note.file.write_text(nonce, encoding="ascii")
    try:
        yield note
    finally:
        note.file.unlink(missing_ok=True)


@cache
def require_seen(note: Note) -> None:
    """Raises ClusterError if this machine does not find the note."""
    try:
        found = note.file.read_text(encoding="ascii")
    except OSError:
        found = ""
    if found != note.nonce:
        raise ClusterError(
            f"the machine {socket.gethostname()} of the Ray cluster does not see {note.file.parent}, where this run"
            " works: let all machines have that folder at the same path, or let FINETUNE_STORE name a bucket"
        )
