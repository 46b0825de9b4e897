"""Says in one sentence which limit of the machine ended a command: its disk, its memory, its open files.

Such an error may come from anywhere, also from the libraries around our code, and wrapped in their own.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from lib.errors import FinetuneError, RecipeError, StoreError, chain_of
from lib.files.disk import disk_refuses
from lib.model.machine.memory import exhausted, too_small
from tasks.environment import home

TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})  # of this process; of the machine
SQLITE_FULL = "database or disk is full"
SQLITE_BROKEN = "disk I/O error"


def sentence_of_machine(error: BaseException) -> FinetuneError | None:
    """Returns what to tell of an error behind which a limit of the machine stands; None: there is none.

    What follows from a full disk may hide it: a server that cannot write, for example, answers nonsense. So the errors
    during which this one came are looked at too.
    """
    chain = [*chain_of(error)]
    said = next((link for link in chain if isinstance(link, StoreError)), None)
    return said or next(filter(None, map(_limit, chain)), None)


def _limit(error: Any) -> FinetuneError | None:
    if isinstance(error, OSError):
        if error.errno in TOO_MANY_FILES:
            return RecipeError(
                "too many files are open for this process's limit: raise it (`ulimit -n 1024`) and run again"
            )
        return disk_refuses(error, Path(error.filename).parent if isinstance(error.filename, str) else home())
    if exhausted(error):
        return too_small("this", error)
    if SQLITE_FULL in str(error):
        return disk_refuses(OSError(errno.ENOSPC, SQLITE_FULL), home())
    if SQLITE_BROKEN in str(error):
        return disk_refuses(OSError(errno.EIO, SQLITE_BROKEN), home())
    return None
