"""Large arrays that lie in files."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from lib.errors import StoreError
from lib.files.mapped import IN_MEMORY, LEAST, Arrays


def test_large_arrays_lie_in_nameless_files_and_small_ones_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    small = Arrays(folder).empty((4, 2), np.float64)
    assert (small.shape, folder.exists()) == ((4, 2), False)
    large = Arrays(folder).empty((LEAST // 8, 2), np.float64)
    large[:] = 0.5
    assert large.sum() == LEAST // 8
    assert isinstance(large.base, np.memmap)
    assert list(folder.iterdir()) == []
    assert IN_MEMORY.empty((LEAST,), np.float64).base is None


def test_a_disk_without_room_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, first: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StoreError, match="No space left to write into"):
        Arrays(tmp_path).empty((LEAST,), np.float64)
