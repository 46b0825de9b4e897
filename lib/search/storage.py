"""Where trials are kept: a SQLite file, or a PostgreSQL database; both in Optuna's tables, which its own tools read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lib.errors import SearchError, chain_of
from lib.extras import require
from lib.files.disk import disk_full_is_clear
from lib.files.sqlite import WAIT_SECONDS
from lib.secrets import public, redacted, revealed

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

EXAMPLE = "postgresql://user:password@host:5432/database"
SCHEMES = ("postgresql", "postgresql+psycopg2", "postgres")
ANSWER_SECONDS = 10  # within which a server that is there answers
LOCK = 6_284_033_977  # any number that no other program takes for a lock of its own in the same database


@dataclass(frozen=True)
class Storage:
    """An open one; `shown` names it in sentences."""

    trials: RDBStorage
    shown: str
    file: Path | None  # None: a PostgreSQL database

    def alone(self) -> AbstractContextManager[Any]:
        """Holds others back, on all machines, from what they do in such a block, until its end."""
        return _alone(self.trials.engine, self.file)

    @contextmanager
    def errors_are_clear(self) -> Iterator[None]:
        """Turns an error of the database into a SearchError."""
        with _errors_are_clear(self.shown):
            yield

    def close(self) -> None:
        """Ends its connections."""
        self.trials.remove_session()
        self.trials.engine.dispose()


def open_storage(place: str) -> Storage:
    """Opens the storage at an address of PostgreSQL or in a SQLite file, which is made if it is not there. Raises
    SearchError if it cannot be used, and ExtraError if a package is missing."""
    full = revealed(place)
    url = _server(full) if "://" in full else None
    shown = public(place)
    file = None if url is not None else Path(place).absolute()
    with _errors_are_clear(shown):
        if file is not None:
            with disk_full_is_clear(file.parent):
                file.parent.mkdir(parents=True, exist_ok=True)
        return Storage(_trials(url, file), shown, file)


def _server(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise SearchError(f"search.storage is no address of a database: write {EXAMPLE}") from None
    if url.drivername not in SCHEMES:
        raise SearchError(
            f"search.storage begins with {url.drivername}://, but must be a PostgreSQL server's address: write"
            f" {EXAMPLE}, or leave it out for a file in the home"
        )
    if not url.database:
        raise SearchError(f"search.storage names no database: write {EXAMPLE}")
    require("psycopg2", "postgres", "search.storage with a PostgreSQL server")
    return url.set(drivername="postgresql+psycopg2")


def _trials(url: URL | None, file: Path | None) -> RDBStorage:
    """Returns Optuna's storage. One process at a time makes its tables, or what is missing of them after a kill."""
    from optuna.storages import RDBStorage

    if url is None:
        assert file is not None
        address = "sqlite://"  # a path in an address would have to be free of what means something there
        options: dict[str, Any] = {
            "creator": lambda: sqlite3.connect(file, timeout=WAIT_SECONDS),
            "poolclass": NullPool,  # a connection for each transaction, and for the thread that makes it
        }
    else:
        address = url.render_as_string(hide_password=False)
        # A connection that was lost since it was used last is replaced.
        options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": ANSWER_SECONDS}}
    engine = create_engine(address, **options)
    try:
        with _alone(engine, file):
            return RDBStorage(address, engine_kwargs=options)
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine, file: Path | None) -> Iterator[None]:
    if file is not None:
        with FileLock(file.with_name(f".{file.name}.lock")):
            yield
        return
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield


@contextmanager
def _errors_are_clear(shown: str) -> Iterator[None]:
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError) as error:
        found = next((link for link in chain_of(error) if isinstance(link, DBAPIError)), error)
        reason = " ".join(str(getattr(found, "orig", None) or found).split())
        raise SearchError(
            f"The trials in {shown} cannot be read or written ({redacted(reason)}): see that it can be used, then run"
            " again, which goes on where this ended"
        ) from error
    except RuntimeError as error:  # what Optuna says of tables of another version
        if "schema" not in str(error):
            raise
        raise SearchError(
            f"The trials in {shown} are of another version of Optuna: upgrade them with `optuna storage upgrade`, or"
            " choose another search.storage"
        ) from error
