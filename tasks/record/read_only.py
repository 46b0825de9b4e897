"""Reads the records of a home that may not be written: one on a read-only mount, or another user's."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from tasks.environment import sqlite_uri
from tasks.record.moved import follow_files


def may_only_be_read(database: Path) -> bool:
    """Whether MLflow's SQLite file is there, and its folder takes no journal."""
    return database.is_file() and not os.access(database.parent, os.W_OK)


def read_only_uri(database: Path, folder: Path) -> str:
    """Returns an address by which MLflow only reads; whatever writes fails. If the home was moved, that is a copy in
    which files of runs are where they are now, in `folder`; it goes when this process ends. Raises sqlite3.Error if the
    file cannot be read."""
    try:
        follow_files(database, folder)
    except sqlite3.OperationalError:  # what must be rewritten may not be
        database = _copied(database, folder, database.stat().st_mtime_ns)
    return f"{sqlite_uri(Path(f'file:{quote(str(database))}'))}?mode=ro&uri=true"


@lru_cache(maxsize=1)
def _copied(database: Path, folder: Path, changed: int) -> Path:
    """Returns a copy of the file, as it has been since it was last `changed`, with the files of runs in `folder`."""
    copy = _place() / f"{changed}.db"
    for earlier in copy.parent.iterdir():
        earlier.unlink()
    with (
        closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(copy)) as new,
    ):
        old.backup(new)
    follow_files(copy, folder)
    return copy


@lru_cache(maxsize=1)
def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="finetune-read-only-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
