"""Makes MLflow's SQLite file, and brings an older one up to date, so that a kill never leaves it half made.

Both happen on a file beside it, which then takes its place; MLflow itself would work in the file, and a kill would make
that unusable. MLflow's version stands in the file (`PRAGMA user_version`): whoever finds its own there asks no more.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing, suppress
from pathlib import Path

import mlflow

from lib.errors import ServiceError
from lib.files.disk import into_place
from tasks.environment import sqlite_uri
from tasks.running import page_here

HELD = ("runs", "registered_models", "logged_models", "trace_info", "datasets")  # tables with what nobody may lose
BESIDE = ("-journal", "-wal", "-shm")  # SQLite's own files of a database
WAIT_SECONDS = 30.0  # for other processes that write


def ready_database(database: Path, files: Path) -> None:
    """Makes sure that `database` is there, whole, and as the installed MLflow needs it; the caller holds its lock.

    A missing one is made, and so is one anew whose making was interrupted. `files`: the folder with the files of its
    runs. Raises ServiceError if it belongs to a newer MLflow, was emptied, or may not be changed now, and sqlite3.Error
    or MLflow's errors if it cannot be read or written.
    """
    for leftover in database.parent.glob(f".{database.name}-*"):  # of a killed process: the caller holds the lock
        leftover.unlink()
    if not database.exists():
        _make(database)
        return
    if database.is_file() and database.stat().st_size == 0 and files.is_dir() and next(files.iterdir(), None):
        raise ServiceError(
            f"{database} is empty, but {files} has files of runs: restore it from a backup, or remove it, and the next"
            " run begins a new one without the runs and registered models that were in it"
        )
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] == _version():
            return
        revision, holds_something = _revision(connection), _holds_something(connection)
    _bring_up_to_date(database, revision, holds_something=holds_something)


def _bring_up_to_date(database: Path, revision: str | None, *, holds_something: bool) -> None:
    from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision

    if revision == _get_latest_schema_revision():  # type: ignore[no-untyped-call]
        with suppress(sqlite3.OperationalError):  # it may be read only
            _mark(database)
        return
    if not holds_something:
        _make(database)
        return
    from alembic.script import ScriptDirectory

    known = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    if revision is not None and revision not in {script.revision for script in known.walk_revisions()}:
        raise ServiceError(
            f"{database} was written by a newer MLflow than {mlflow.__version__}: install that version again, or set"
            " FINETUNE_HOME to another folder"
        )
    page = page_here("mlflow")
    if page is not None:
        raise ServiceError(
            f"{database} is of an older MLflow, and the server at {page} writes into it: stop that (`finetune up` or"
            " `finetune ui`), run again, and start it anew"
        )
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS, isolation_level=None)) as held:
        # What runs of the older MLflow write meanwhile would be in a file that nobody sees any more. So they wait, and
        # then SQLite refuses to write into a file that was replaced: their records wait in the outbox.
        held.execute("BEGIN IMMEDIATE")
        _make(database, of=database)


def _make(database: Path, of: Path | None = None) -> None:
    """Makes the file anew, from a copy of `of` if that is given."""
    from mlflow.store.db.utils import _initialize_tables, _upgrade_db, _verify_schema, create_sqlalchemy_engine

    begun = database.with_name(f".{database.name}-new")
    if of is not None:
        with closing(sqlite3.connect(of, timeout=WAIT_SECONDS)) as old, closing(sqlite3.connect(begun)) as new:
            old.backup(new)
    engine = create_sqlalchemy_engine(sqlite_uri(begun))  # type: ignore[no-untyped-call]
    try:
        if of is None:
            _initialize_tables(engine)  # type: ignore[no-untyped-call]
        else:
            _upgrade_db(engine)  # type: ignore[no-untyped-call]
        _verify_schema(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()
    _mark(begun)
    for suffix in BESIDE:  # SQLite would roll the old file's journal back into the new one
        database.with_name(f"{database.name}{suffix}").unlink(missing_ok=True)
    into_place(begun, database)


def _version() -> int:
    """Returns MLflow's version as SQLite keeps one: a number of 31 bits, never 0, which every file has at first."""
    return zlib.crc32(mlflow.__version__.encode()) & 0x7FFFFFFF or 1


def _mark(database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {_version()}")


def _revision(connection: sqlite3.Connection) -> str | None:
    """Returns how far the tables were brought; None if no migration has finished."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return None if row is None else str(row[0])


def _holds_something(connection: sqlite3.Connection) -> bool:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in HELD if table in there)
