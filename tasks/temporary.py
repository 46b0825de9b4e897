"""Puts temporary files under the home, where what a killed process left behind is found and removed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from lib.files.disk import disk_full_is_clear, remove
from lib.files.lock import tried
from tasks.environment import home

LOCK = ".lock"  # held by the owner of a folder for as long as it lives


def place() -> Path:
    """Returns where the folders of processes lie."""
    return home() / "tmp"


@contextmanager
def temporary_files() -> Iterator[None]:
    """Puts what this process, MLflow included, writes into temporary files during the block into a folder of its own
    under the home, which goes at the end. The folders of dead processes go at the beginning.

    A home that may only be read takes none: they lie where the system puts them. Raises StoreError if the disk is full.
    """
    if home().is_dir() and not os.access(home(), os.W_OK):
        yield
        return
    parent = place()
    with disk_full_is_clear(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / LOCK):
            for folder in abandoned(parent):
                remove(folder)
            folder = Path(tempfile.mkdtemp(prefix="", dir=parent))
            lock = FileLock(folder / LOCK)
            lock.acquire()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        remove(folder)
        lock.release()


def abandoned(parent: Path) -> list[Path]:
    """Returns the folders in `parent` whose owners are gone; the caller holds the lock of `parent`, or only looks."""
    found = []
    for folder in sorted(path for path in parent.glob("*") if path.is_dir()):
        with tried(FileLock(folder / LOCK)) as ours:
            if ours:
                found.append(folder)
    return found
