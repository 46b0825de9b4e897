"""Makes SQLite files beside their place, which they then take, so that a kill never leaves one half made.

The version of the program that a file is for stands in it (`PRAGMA user_version`): whoever finds its own there asks no
more.
"""

from __future__ import annotations

import glob
import sqlite3
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from lib.files.disk import into_place, remove

BESIDE = ("-journal", "-wal", "-shm")  # SQLite's own files of a database
WAIT_SECONDS = 30.0  # for other processes that write
IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """Yields a connection on which each statement is a transaction unless one is begun."""
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS, isolation_level=None)) as connection:
        yield connection


def is_in_use(error: sqlite3.Error) -> bool:
    """Whether SQLite refused something because somebody else uses the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in IN_USE  # the other bits say more exactly why


def sweep(database: Path) -> None:
    """Removes what a killed process left of the making of `database`; the caller holds the lock of whoever makes it."""
    for leftover in database.parent.glob(f".{glob.escape(database.name)}-*"):
        remove(leftover)


@contextmanager
def made_beside(database: Path, version: str, of: Path | None = None) -> Iterator[Path]:
    """Yields the path of a file to be made, or a copy of `of` to be changed; at the block's end it gets the version and
    takes the place of `database`. If the block fails, nothing of it is left. The caller holds a lock.

    What others write into `of` meanwhile would be in a file that nobody sees any more. So they wait, and then SQLite
    refuses to write into a file that was replaced.

    Raises sqlite3.OperationalError if `of` is being written to for longer than is waited, or if somebody still has the
    new file open, and StoreError if the disk is full.
    """
    begun = database.with_name(f".{database.name}-new")
    with ExitStack() as held:
        try:
            if of is not None:
                held.enter_context(opened(of)).execute("BEGIN IMMEDIATE")
                with opened(of) as old, opened(begun) as new:
                    old.backup(new)
            yield begun
            with opened(begun) as connection:
                mark(connection, version)
                _empty_log(connection)
            for suffix in BESIDE:  # SQLite would take the old file's journal for one of the new file
                _beside(database, suffix).unlink(missing_ok=True)
            into_place(begun, database)
        finally:
            for suffix in ("", *BESIDE):
                remove(_beside(begun, suffix))


def _beside(database: Path, suffix: str) -> Path:
    return database.with_name(f"{database.name}{suffix}")


def _empty_log(connection: sqlite3.Connection) -> None:
    """Brings all that was written into the file itself, which alone takes its place."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("what was written into a new database is still in its log, because it is in use")


def is_of(connection: sqlite3.Connection, version: str) -> bool:
    """Whether the file is for this version."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] == _number(version))


def mark(connection: sqlite3.Connection, version: str) -> None:
    """Notes in the file that it is for this version."""
    connection.execute(f"PRAGMA user_version = {_number(version)}")


def _number(version: str) -> int:
    """Returns a version as SQLite keeps one: a number of 31 bits, never 0, which every file has at first."""
    return zlib.crc32(version.encode()) & 0x7FFFFFFF or 1


def revision(connection: sqlite3.Connection) -> str | None:
    """Returns how far Alembic has brought the tables; None if no migration has finished."""
    if "alembic_version" not in _tables(connection):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def holds_something(connection: sqlite3.Connection, tables: Collection[str]) -> bool:
    """Whether one of these tables, as far as they are there, has a row."""
    there = _tables(connection)
    return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in tables if table in there)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
