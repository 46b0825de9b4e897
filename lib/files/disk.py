"""What writing to a disk needs that Python does not do: a full one said clearly, and what is written really there."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # no space on the device; the user's quota is used up


@contextmanager
def disk_full_is_clear(folder: Path) -> Iterator[None]:
    """Turn "no space left" while writing into `folder` into one sentence; other `OSError`s pass unchanged.

    Put it around the opening *and* the closing of the file: what is still buffered is written when it closes.

    Raises:
        StoreError: the disk or the quota is full; names `folder` and what is free there.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StoreError(
            f"No space left to write into {folder} ({_free(folder)}): free some space there, or choose a"
            " folder on a larger disk, and run again"
        ) from error


def _free(folder: Path) -> str:
    """What is free where `folder` is, or will be once it is made."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return f"{shutil.disk_usage(existing).free / 2**20:,.1f} MiB free"


def sync(path: Path) -> None:
    """Waits until what was written to a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
