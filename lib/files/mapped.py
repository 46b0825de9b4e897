"""Arrays that lie in files, so that they take no memory that a machine must have: their pages are written to the disk
where others need the room."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.files.disk import disk_full_is_clear, reserve

LEAST = 2**20  # bytes, from which on an array lies in a file


class Arrays:
    """Makes arrays: large ones in nameless files of a folder, which end with them, and small ones in memory. Without a
    folder all are in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Returns an array of any numbers. Raises StoreError if the disk has no room for it."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self._folder is None or size < LEAST:
            return np.empty(shape, dtype)
        self._folder.mkdir(parents=True, exist_ok=True)
        with disk_full_is_clear(self._folder), tempfile.TemporaryFile(dir=self._folder) as file:
            reserve(file.fileno(), size)  # now: a disk that is full later ends the process by a signal
            return np.asarray(np.memmap(file, dtype, mode="r+", shape=shape))


IN_MEMORY = Arrays()
