"""Files of artifacts that lie on a server, kept on this machine by their checksums within a stated size.

`files/<checksum>` and `artifacts/<identity>/<name>` are two names of one file each, so that artifacts share what is the
same in them. Where more would lie here than the limit, the artifacts go that were used longest ago; none goes that a
running process has used, which holds a lock on its folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from lib.files.checksum import file_problem, json_sha256
from lib.files.disk import disk_full_is_clear, remove
from lib.files.usage import states_in
from lib.store.artifacts import File

DEAD = 24 * 3600  # seconds after which what was being fetched is no longer


class Cache:
    """A folder of fetched files. limit: bytes; what is in use may take more."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit
        self._held: dict[Path, int] = {}  # folders in use, with the descriptor that holds each one's lock
        self._guard = threading.Lock()

    def folder(self, files: Iterable[File]) -> Path:
        """Returns the folder of an artifact with these files, which stays until this process ends."""
        folder = self.root / "artifacts" / json_sha256([[file.name, file.sha256] for file in files])[:32]
        with self._guard:
            while folder not in self._held:
                with disk_full_is_clear(self.root):
                    folder.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # removed meanwhile
                    descriptor = os.open(folder, os.O_RDONLY)
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
                    if _is_still(folder, descriptor):
                        self._held[folder] = descriptor
                    else:
                        os.close(descriptor)
            os.utime(folder)
        return folder

    def release(self) -> None:
        """Lets everything go that this process has used."""
        with self._guard:
            while self._held:
                os.close(self._held.popitem()[1])

    def file(self, folder: Path, file: File, fetch: Callable[[Path], None]) -> Path:
        """Returns where a file of an artifact lies whole; `fetch` writes it into a new file where it does not, and sees
        to its checksum. Raises StoreError if the disk is full."""
        place = folder / file.name
        if not file_problem(place, file.name, file.size, file.sha256):
            return place
        with disk_full_is_clear(self.root):
            shared = self._shared(file.sha256)
            place.parent.mkdir(parents=True, exist_ok=True)
            locks = self.root / "locks"
            locks.mkdir(exist_ok=True)
            with FileLock(locks / file.sha256[:2]):  # two that need the same file fetch it once
                remove(place)
                with suppress(OSError):
                    os.link(shared, place)
                if not file_problem(place, file.name, file.size, file.sha256):
                    return place
                for damaged in (place, shared):
                    remove(damaged)
                self.make_room(file.size)
                part = self._part()
                try:
                    fetch(part)
                    part.replace(place)
                finally:
                    remove(part)
                self._share(place, shared)
        return place

    def take(self, folder: Path, files: Iterable[File], here: Iterable[File]) -> None:
        """Moves those of an artifact's files that are `here`, and whole, from a folder to where they are looked for."""
        target = self.folder(files)
        with disk_full_is_clear(self.root):
            for file in here:
                (target / file.name).parent.mkdir(parents=True, exist_ok=True)
                (folder / file.name).replace(target / file.name)
                self._share(target / file.name, self._shared(file.sha256))
        self.make_room(0)

    def make_room(self, needed: int) -> None:
        """Removes what was used longest ago until so many more bytes stay within the limit, as far as that goes."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".room"):
            self._remove_dead_parts()
            for folder in sorted((self.root / "artifacts").glob("*"), key=_last_used):
                if self.size() + needed <= self.limit:
                    return
                self._remove(folder)

    def size(self) -> int:
        """Bytes of all that lies here."""
        files = (state for state in states_in(self.root) if stat.S_ISREG(state.st_mode))
        return sum({state.st_ino: state.st_size for state in files}.values())

    def _shared(self, sha256: str) -> Path:
        place = self.root / "files" / sha256
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _share(self, place: Path, shared: Path) -> None:
        with suppress(OSError):  # it is there already, or the file system has no second names
            os.link(place, shared)

    def _part(self) -> Path:
        parts = self.root / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        return parts / uuid.uuid4().hex

    def _remove(self, folder: Path) -> None:
        """Removes the folder of an artifact that nobody uses, and files that no other one has."""
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(folder, descriptor):
                    shutil.rmtree(folder.rename(self._part()), ignore_errors=True)
            except BlockingIOError:
                return  # in use
            finally:
                os.close(descriptor)
        for shared in (self.root / "files").glob("*"):
            with suppress(FileNotFoundError):
                if shared.stat().st_nlink == 1:
                    shared.unlink()

    def _remove_dead_parts(self) -> None:
        for part in (self.root / "parts").glob("*"):
            if _last_used(part) < time.time() - DEAD:
                remove(part)


def _is_still(folder: Path, descriptor: int) -> bool:
    """Whether the folder at this path is the one that was opened."""
    with suppress(FileNotFoundError):
        return folder.stat().st_ino == os.fstat(descriptor).st_ino
    return False


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
