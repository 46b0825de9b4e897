"""Makes Prefect's SQLite file, and brings an older one up to date, so that a kill never leaves it half made.

Prefect's server would work in the file itself and commits some migrations in parts: killed between two of them, no
server starts over that file any more. So both happen on a file beside it, which then takes its place. Prefect's version
stands in the file (`PRAGMA user_version`): whoever finds its own there asks no more.
"""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import prefect
from filelock import FileLock
from prefect.settings import Settings
from sqlalchemy import make_url

from lib.errors import ServiceError
from lib.files.disk import into_place
from tasks.environment import home
from tasks.record.mlflow_run import reason_of

LOCK = ".prefect.lock"  # in the home
HELD = ("flow", "deployment", "block_document", "variable", "automation")  # tables with what people have put there
BESIDE = ("-journal", "-wal", "-shm")  # SQLite's own files of a database
WAIT_SECONDS = 30.0  # for other processes that write


def prefect_lock() -> FileLock:
    """Returns the lock of whoever makes the database, or starts a server that may be the first over it."""
    return FileLock(home() / LOCK)


def ready_database() -> None:
    """Makes sure that the SQLite file of Prefect's server is there, whole, and as the installed Prefect needs it; the
    caller holds `prefect_lock`. Does nothing where the settings name another kind of database.

    Raises ServiceError if it cannot be read or written, is of a newer Prefect, or is of an older one and in use.
    """
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    database = _file()
    if database is None:
        return
    for leftover in database.parent.glob(f".{database.name}-*"):  # of a killed process: the caller holds the lock
        leftover.unlink()
    try:
        if not database.exists():
            _make(database)
        else:
            _bring_up_to_date(database)
    except CommandError:  # its revision is not among those of the installed Prefect
        raise ServiceError(
            f"Prefect's database {database} was written by a newer Prefect than {prefect.__version__}: install that"
            " version again, or set FINETUNE_HOME to another folder"
        ) from None
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise ServiceError(
            f"Prefect's database {database} cannot be used ({reason_of(error)}): see that its folder can be written"
            " and has room; else restore it from a backup, or remove it, and the next run begins a new one, without the"
            " pages of earlier runs"
        ) from error


def _file() -> Path | None:
    """Returns where the database of a server lies that is started now, if that is a file."""
    url = Settings().server.database.connection_url  # of the environment as it is now
    place = make_url(url.get_secret_value()) if url is not None else None
    if place is None or place.get_backend_name() != "sqlite" or not place.database or ":memory:" in place.database:
        return None
    return Path(place.database)


def _bring_up_to_date(database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] == _version():
            return
        if _revision(connection) == _newest_revision():
            _mark(connection)
            return
        holds_something = _holds_something(connection)
        try:
            connection.execute("PRAGMA journal_mode = DELETE")  # SQLite refuses that while anybody else has it open
        except sqlite3.OperationalError:
            raise ServiceError(
                f"Prefect's database {database} is of an older Prefect, and a server or a run works in it: stop that"
                " (`finetune up` or `finetune ui`), and run again"
            ) from None
    _make(database, of=database if holds_something else None)


def _make(database: Path, of: Path | None = None) -> None:
    """Makes the file anew, from a copy of `of` if that is given."""
    from prefect.server.database import provide_database_interface
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import temporary_database_config

    begun = database.with_name(f".{database.name}-new")
    if of is not None:
        with closing(sqlite3.connect(of, timeout=WAIT_SECONDS)) as old, closing(sqlite3.connect(begun)) as new:
            old.backup(new)
    with temporary_database_config(AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{begun}")):
        asyncio.run(provide_database_interface().create_db())
    with closing(sqlite3.connect(begun)) as connection:
        _mark(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in BESIDE:  # SQLite would take the old file's journal for one of the new file
        database.with_name(f"{database.name}{suffix}").unlink(missing_ok=True)
    into_place(begun, database)


def _version() -> int:
    """Returns Prefect's version as SQLite keeps one: a number of 31 bits, never 0, which every file has at first."""
    return zlib.crc32(prefect.__version__.encode()) & 0x7FFFFFFF or 1


def _mark(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute(f"PRAGMA user_version = {_version()}")


def _revision(connection: sqlite3.Connection) -> str | None:
    """Returns how far the tables were brought; None if no migration has finished."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return None if row is None else str(row[0])


def _newest_revision() -> str | None:
    from alembic.script import ScriptDirectory
    from prefect.server.database import provide_database_interface
    from prefect.server.database.alembic_commands import alembic_config

    script = ScriptDirectory.from_config(alembic_config())
    script.version_locations = [str(provide_database_interface().orm.versions_dir)]
    return script.get_current_head()


def _holds_something(connection: sqlite3.Connection) -> bool:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in HELD if table in there)
