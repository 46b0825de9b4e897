"""Copies objects to score to this machine, one at a time, because that is where the readers of files are."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from lib.data.source.objects import fetch_object
from lib.data.source.partial import claimed
from lib.files.checksum import json_sha256
from lib.files.disk import disk_full_is_clear, remove
from lib.progress import silent
from lib.scoring.inputs import InputFile, changed
from lib.scoring.objects import SECONDS, State, patiently, told

ANY_SIZE = 2**63  # of an object; the disk sets the limit


class Copies:
    """Copies of objects in a temporary folder, for as long as a block lasts. limit: bytes of those that stay between
    the first look at an object and its turn; one that is in use may take more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._sizes: dict[str, int] = {}  # bytes of the copies that are here

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def bring(self, file: InputFile) -> InputFile:
        """Returns the file as it lies here: an object as a copy of it, which is fetched if there is none. Raises
        SourceError if the store fails, or the object has changed, and StoreError if the disk is full."""
        if file.state is None:
            return file
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory()
        folder = self._folder(file)
        copy = folder / (file.path.name or "object")
        if file.name not in self._sizes:
            with disk_full_is_clear(folder):
                folder.mkdir(exist_ok=True)
                state = patiently(file.name, lambda: _fetch(file.name, folder, copy))
            if told(state) != file.state:
                raise changed(file.name)
            self._sizes[file.name] = copy.stat().st_size
        return replace(file, path=copy)

    def keep(self, file: InputFile) -> None:
        """Removes the copy of a file that was looked at if the copies have become too many."""
        if sum(self._sizes.values()) > self._limit:
            self.drop(file)

    def drop(self, file: InputFile) -> None:
        """Removes the copy of a file that is done."""
        if self._sizes.pop(file.name, None) is not None:
            remove(self._folder(file))

    def _folder(self, file: InputFile) -> Path:
        assert self._temporary is not None
        return Path(self._temporary.name) / json_sha256([file.name])[:16]


def _fetch(address: str, folder: Path, copy: Path) -> State:
    with claimed(address, folder) as partial:
        state = fetch_object(address, partial, size_limit=ANY_SIZE, timeout=SECONDS, progress=silent)
        assert partial.path is not None
        partial.path.replace(copy)
        partial.remove()
    return state
