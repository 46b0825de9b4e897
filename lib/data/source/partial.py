"""The beginning of a file that is being fetched: kept when the transfer breaks off, also by a kill, and gone on with
only if it is still, byte for byte, what came."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lib.files.disk import give_way, write_whole
from lib.secrets import hidden_choice

BLOCK = 2**20  # bytes that are read at once
NOTE_SECONDS = 1.0  # between two notes: a kill loses what came since the last one


@dataclass
class Partial:
    """The bytes received from one address, and beside them, as JSON, their number and sha256, and the validators of
    that answer. `file` is open for reading and writing. `path` is None for a private file, and once it was removed.
    `folder` is where both lie."""

    file: IO[bytes]
    path: Path | None
    folder: Path
    _validators: dict[str, str] = field(default_factory=dict)
    _hash: Any = field(default_factory=hashlib.sha256)
    _hashed: int = 0  # bytes that are in `_hash`
    _noted: float = 0.0  # when that was last written down, by the monotonic clock

    def size(self) -> int:
        """Returns the bytes so far and moves `file` to its end for writing."""
        return self.file.seek(0, os.SEEK_END)

    def validators(self) -> dict[str, str]:
        """Returns the validators of the answer that `file` begins; empty if there is nothing to resume."""
        return dict(self._validators) if self.path is not None and self.size() else {}

    def recall(self) -> None:
        """Takes up what an earlier process left: the bytes that its note vouches for, or none."""
        if self.path is None:
            return
        try:
            noted = json.loads(_note(self.path).read_text(encoding="utf-8"))
            size, sha256, validators = noted["size"], noted["sha256"], noted["validators"]
            fits = isinstance(size, int) and all(isinstance(value, str) for value in validators.values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            fits = False  # missing or incomplete: the transfer starts over
        if fits and self._sha256_of(size) == sha256:
            self.file.truncate(size)
            self._validators = validators
        else:
            self._empty({})

    def start_over(self, validators: Mapping[str, str]) -> None:
        """Discards every byte; the next ones belong to an answer with these validators."""
        self._empty(validators)
        self.note()

    def append(self, piece: bytes) -> None:
        """Adds the next bytes, and notes them if the last note is more than a second old."""
        self.file.write(piece)
        self.file.flush()
        self._hash.update(piece)
        self._hashed += len(piece)
        if time.monotonic() - self._noted > NOTE_SECONDS:
            self.note()

    def note(self) -> None:
        """Writes down how much of the file came, for a later process; that is done when `claimed` ends, too."""
        if self.path is not None:
            noted = {"size": self._hashed, "sha256": self._hash.hexdigest(), "validators": self._validators}
            write_whole(_note(self.path), json.dumps(noted, sort_keys=True))
        self._noted = time.monotonic()

    def remove(self) -> None:
        """Deletes both files; `file` can still be read until it is closed."""
        if self.path is not None:
            _note(self.path).unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        self.path = None

    def _empty(self, validators: Mapping[str, str]) -> None:
        self.file.truncate(0)
        self._validators, self._hash, self._hashed = dict(validators), hashlib.sha256(), 0

    def _sha256_of(self, size: int) -> str | None:
        """Returns the sha256 of the first `size` bytes; None if there are fewer."""
        self.file.seek(0)
        for begin in range(0, size, BLOCK):
            wanted = min(BLOCK, size - begin)
            block = self.file.read(wanted)
            if len(block) < wanted:
                return None
            self._hash.update(block)
        self._hashed = size
        return str(self._hash.hexdigest())


@contextmanager
def claimed(address: str, scratch: Path) -> Iterator[Partial]:
    """Locks and yields the partial file of `address` in `scratch`.

    While another process or thread has the lock (two recipes with the same source), the caller gets a private file,
    which vanishes when closed or killed, so that nobody waits and two never write to one file.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    path = _partial_path(address, scratch)
    if (file := _opened(path)) is not None:
        with file:
            if _is_mine(file, path):
                partial = Partial(file, path, scratch)
                partial.recall()
                try:
                    yield partial
                finally:
                    with suppress(OSError):  # an older note vouches for the beginning of what came
                        if partial.size():
                            partial.note()
                return
    with tempfile.TemporaryFile(dir=scratch) as private:
        yield Partial(private, None, scratch)


def forget(address: str, scratch: Path) -> None:
    """Removes what a transfer from `address` left in `scratch`, unless it is locked."""
    path = _partial_path(address, scratch)
    if path.exists() and (file := _opened(path)) is not None:
        with file:
            if _is_mine(file, path):
                Partial(file, path, scratch).remove()


def _partial_path(address: str, scratch: Path) -> Path:
    """Returns the place of a file's first bytes: the same when its address is signed anew, and another one for another
    file, even where the two addresses are shown alike."""
    told = hidden_choice(address, signature=False) or address
    name = hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()[:32]
    return scratch / f"{name}.part"


def _opened(path: Path) -> IO[bytes] | None:
    """Opens the file for reading and adding; returns None if it is somebody else's."""
    for place in (path, _note(path)):
        give_way(place)
    try:
        return path.open("a+b")
    except PermissionError:
        return None


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _is_mine(file: IO[bytes], path: Path) -> bool:
    """Takes the lock and checks that the file was not finished and removed between opening and locking it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:  # locked, just removed, or no locks on this file system
        return False
