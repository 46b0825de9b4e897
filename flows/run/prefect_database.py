"""Makes Prefect's SQLite file, and brings an older one up to date, so that a kill never leaves it half made.

Prefect's server would work in the file itself and commits some migrations in parts: killed between two of them, no
server starts over that file any more. So both happen on a file beside it (`lib.files.sqlite`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import prefect
from filelock import FileLock
from prefect.settings import Settings
from sqlalchemy import make_url

from lib.errors import ServiceError
from lib.files.sqlite import holds_something, is_in_use, is_of, made_beside, mark, opened, revision, sweep
from tasks.environment import home, sqlite_uri
from tasks.record.mlflow_run import reason_of

LOCK = ".prefect.lock"  # in the home
HELD = ("flow", "deployment", "block_document", "variable", "automation")  # tables with what people have put there
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


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
    sweep(database)
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


def server_environment() -> dict[str, str]:
    """What a Prefect server that is started here needs in its environment to find its database: Prefect's own address
    of a file in its home means another file where a `?` or `%` is in the path. Empty where the settings name one."""
    file = _own_file()
    return {} if file is None else {DATABASE: sqlite_uri(file, driver="aiosqlite")}


def _file() -> Path | None:
    """Returns where the database of a server lies that is started now, if that is a file."""
    own = _own_file()
    if own is not None:
        return own
    url = Settings().server.database.connection_url
    place = make_url(url.get_secret_value()) if url is not None else None
    if place is None or place.get_backend_name() != "sqlite" or not place.database or ":memory:" in place.database:
        return None
    return Path(place.database)


def _own_file() -> Path | None:
    """Returns the file in Prefect's home; None where the settings name another database."""
    settings = Settings()  # of the environment as it is now
    database = settings.server.database
    named = database.model_fields_set & {"connection_url", "driver"}
    return None if named else Path(settings.home).expanduser() / "prefect.db"


def _bring_up_to_date(database: Path) -> None:
    with opened(database) as connection:
        if is_of(connection, prefect.__version__):
            return
        if revision(connection) == _newest_revision():
            mark(connection, prefect.__version__)
            return
        holds = holds_something(connection, HELD)
        if _is_in_use(connection):
            raise ServiceError(
                f"Prefect's database {database} is of an older Prefect, and a server or a run works in it: stop that"
                " (`finetune up` or `finetune ui`), and run again"
            )
    _make(database, of=database if holds else None)


def _is_in_use(connection: sqlite3.Connection) -> bool:
    """Whether anybody else has the file open: then SQLite does not leave the journal's mode in which Prefect uses it.
    Raises sqlite3.Error for all that is wrong besides."""
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError as error:
        if not is_in_use(error):
            raise
        return True
    return bool(mode != "delete")


def _make(database: Path, of: Path | None = None) -> None:
    """Makes the file anew, from a copy of `of` if that is given."""
    from prefect.server.database import provide_database_interface
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import temporary_database_config

    with made_beside(database, prefect.__version__, of) as begun:
        address = sqlite_uri(begun, driver="aiosqlite")
        with temporary_database_config(AioSqliteConfiguration(connection_url=address)):
            asyncio.run(provide_database_interface().create_db())


def _newest_revision() -> str | None:
    from alembic.script import ScriptDirectory
    from prefect.server.database import provide_database_interface
    from prefect.server.database.alembic_commands import alembic_config

    script = ScriptDirectory.from_config(alembic_config())
    script.version_locations = [str(provide_database_interface().orm.versions_dir)]
    return script.get_current_head()
