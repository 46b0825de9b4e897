"""The two databases of a PostgreSQL server that `DATABASE` names: one for Prefect, one for MLflow.

    postgresql://user:password@host:5432/        prefect and mlflow
    postgresql://user:password@host:5432/team    team_prefect and team_mlflow

Where they are missing they are created, which the user must be allowed to. A password may be left out: both drivers
read PGPASSWORD and ~/.pgpass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lib.errors import ServiceError
from lib.extras import require
from lib.secrets import public
from tasks.record.mlflow_run import reason_of

SCHEMES = ("postgresql", "postgres")
EXAMPLE = "postgresql://user:password@host:5432/"
MAINTENANCE = "postgres"  # the database that every server has
ANSWER_SECONDS = 10  # within which a server that is there answers
# libpq's name of an option in the address -> the variable that its programs read
LIBPQ_OPTIONS = {"host": "PGHOST", "port": "PGPORT", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}


@dataclass(frozen=True)
class Databases:
    """A server and the databases' names."""

    server: URL
    prefect: str
    mlflow: str

    @property
    def prefect_url(self) -> str:
        """What Prefect's server connects to, with asyncpg, which calls `sslmode` `ssl`."""
        query = {"ssl" if name == "sslmode" else name: value for name, value in self.server.query.items()}
        return self.server.set(drivername="postgresql+asyncpg", database=self.prefect, query=query).render_as_string(
            False
        )

    @property
    def mlflow_url(self) -> str:
        """What MLflow connects to, with psycopg2."""
        return self.server.set(drivername="postgresql+psycopg2", database=self.mlflow).render_as_string(False)

    def environment(self) -> dict[str, str]:
        """What both servers and PostgreSQL's own programs read; the databases' names for scripts."""
        parts = {
            "PGHOST": self.server.host,
            "PGPORT": self.server.port,
            "PGUSER": self.server.username,
            "PGPASSWORD": self.server.password,
        }
        options = {LIBPQ_OPTIONS[name]: value for name, value in self.server.query.items() if name in LIBPQ_OPTIONS}
        return {name: str(value) for name, value in {**parts, **options}.items() if value is not None} | {
            "PREFECT_DATABASE": self.prefect,
            "MLFLOW_DATABASE": self.mlflow,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.prefect_url,
            "MLFLOW_BACKEND_STORE_URI": self.mlflow_url,
        }


def databases(address: str) -> Databases:
    """The databases that an address means; raises ServiceError if it is none of a PostgreSQL server. Raises ExtraError
    if the driver for one is not installed."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise ServiceError(f"DATABASE is no address of a database: write {EXAMPLE}") from None
    if url.drivername not in SCHEMES:
        raise ServiceError(
            f"DATABASE begins with {url.drivername}://, but both servers need PostgreSQL: write {EXAMPLE}, or leave"
            " DATABASE out to use local files"
        )
    require("psycopg2", "postgres", "DATABASE with a PostgreSQL server")
    prefix = f"{url.database}_" if url.database else ""
    return Databases(url.set(drivername="postgresql", database=None), f"{prefix}prefect", f"{prefix}mlflow")


def create_missing(wanted: Databases) -> list[str]:
    """Creates those of the two that are not there yet; their names. Raises ServiceError if the server refuses."""
    try:
        missing = [name for name in (wanted.prefect, wanted.mlflow) if not _exists(wanted, name)]
        if missing:
            with _connected(wanted, MAINTENANCE) as connection:
                for name in missing:
                    _create(connection, name)
    except SQLAlchemyError as error:
        shown = public(wanted.server.render_as_string())
        raise ServiceError(
            f"PostgreSQL at {shown} cannot be used ({reason_of(error)}): see that it runs, that DATABASE has the right"
            f" user and password, and that this user may create databases, or create {wanted.prefect} and"
            f" {wanted.mlflow} for it"
        ) from None
    return missing


@contextmanager
def _connected(wanted: Databases, name: str) -> Iterator[Connection]:
    """A connection without transactions, in which a database cannot be created."""
    address = wanted.server.set(drivername="postgresql+psycopg2", database=name)
    engine = create_engine(
        address, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": ANSWER_SECONDS}
    )
    with engine.connect() as connection:
        yield connection


def _exists(wanted: Databases, name: str) -> bool:
    try:
        with _connected(wanted, name):
            return True
    except OperationalError as error:
        # While connecting, the driver tells the kinds of refusal apart only by the server's words.
        if f'database "{name}" does not exist' in str(error):
            return False
        raise


def _create(connection: Connection, name: str) -> None:
    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    try:
        connection.execute(text(f"CREATE DATABASE {quoted} ENCODING 'UTF8' TEMPLATE template0"))
    except ProgrammingError as error:
        if "already exists" not in str(error):  # somebody else was faster
            raise
