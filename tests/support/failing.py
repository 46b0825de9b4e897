"""Makes the writes of a process fail, as on a full or a broken disk: one after another, or all from one on.

`failing_calls.c` is compiled once a session and preloaded into a process, which arms it here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("failing_calls.c")
LIBRARY = "FAILING_LIBRARY"  # names it to the process into which it is loaded


def compiled(folder: Path) -> Path | None:
    """Returns the library, made in `folder`; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "failing_calls.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


def preloaded(library: Path) -> dict[str, str]:
    """Returns the environment of a process that can be armed."""
    return {**os.environ, "LD_PRELOAD": str(library), LIBRARY: str(library)}


@dataclass
class Writes:
    """The writes of a block. count: how many there were. failed: the first that failed, its call and its file."""

    count: int = 0
    failed: str = ""


@contextmanager
def failing(folder: Path, *, at: int, number: int = errno.ENOSPC, lasting: bool = True) -> Iterator[Writes]:
    """Inside the block the write number `at` (from 1; 0: none) below `folder` fails with an error's number; `lasting`:
    so do all that follow. Tells at the block's end what was counted. Only for a process that is `preloaded`."""
    library = ctypes.CDLL(os.environ[LIBRARY])
    library.failing_which.restype = ctypes.c_char_p
    library.failing_disarm.restype = ctypes.c_long
    writes = Writes()
    library.failing_arm(os.fsencode(folder), ctypes.c_long(at), number, int(lasting))
    try:
        yield writes
    finally:
        writes.failed = os.fsdecode(library.failing_which())
        writes.count = int(library.failing_disarm())
