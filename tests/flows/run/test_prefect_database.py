"""Prefect's database: made anew where its making was interrupted, kept where people's work is in it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from flows.run.prefect_database import ready_database, server_environment
from lib.errors import ServiceError
from lib.files.checksum import file_sha256
from tasks.environment import sqlite_uri

# Prefect commits the next migration in two parts, and only then notes that it is done.
BEFORE_IT = "e757138e954a"


@pytest.fixture
def database(tmp_path: Path, prefect_home: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database of a home's first server, whole."""
    home = tmp_path / "50%41? #1"  # characters that mean something else in an address
    home.mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.delenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", raising=False)
    return Path(shutil.copy(prefect_home / "empty.db", home / "prefect.db"))


def ask(database: Path, statement: str) -> str:
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = connection.execute(statement).fetchall()
    return str(rows[0][0]) if rows else ""


def begin_a_flow(database: Path) -> None:
    ask(database, "insert into flow (id, name) values ('1', 'somebody’s')")


def as_if_killed(database: Path) -> str:
    """The database as a kill leaves it between two parts of a migration: its tables are further than it says. Returns
    the revision that it should be of."""
    newest = ask(database, "select version_num from alembic_version")
    ask(database, f"update alembic_version set version_num = '{BEFORE_IT}'")
    ask(database, "pragma user_version = 0")
    return newest


def is_ready(database: Path) -> bool:
    return int(ask(database, "pragma user_version")) > 0 and list(database.parent.glob("*.db-*")) == []


def test_a_half_made_one_is_made_again(database: Path) -> None:
    newest = as_if_killed(database)
    (database.parent / ".prefect.db-new-wal").write_bytes(b"half")  # of the making that was interrupted
    ready_database()
    assert ask(database, "select version_num from alembic_version") == newest
    assert is_ready(database)
    assert sorted(file.name for file in database.parent.iterdir()) == ["prefect.db"]
    made = file_sha256(database)
    ready_database()
    assert file_sha256(database) == made
    address = server_environment()["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert make_url(address).database == str(database)


def test_one_that_was_half_brought_up_to_date_is_refused_and_stays(database: Path) -> None:
    begin_a_flow(database)
    as_if_killed(database)
    with pytest.raises(
        ServiceError, match=r"prefect\.db cannot be used \(.*duplicate column.*\): .*a backup, or remove"
    ):
        ready_database()
    assert ask(database, "select version_num from alembic_version") == BEFORE_IT
    assert ask(database, "select name from flow") == "somebody’s"


@pytest.fixture
def older(database: Path) -> Path:
    """A database of an older Prefect, with something in it."""
    from prefect.server.database import provide_database_interface
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import temporary_database_config

    with temporary_database_config(AioSqliteConfiguration(connection_url=sqlite_uri(database, driver="aiosqlite"))):
        asyncio.run(provide_database_interface().run_migrations_downgrade("-1"))
    ask(database, "pragma user_version = 0")
    begin_a_flow(database)
    return database


def test_an_older_one_is_brought_up_to_date_unless_somebody_works_in_it(older: Path) -> None:
    old = ask(older, "select version_num from alembic_version")
    with closing(sqlite3.connect(older)) as server:
        server.execute("select * from flow").fetchall()
        with pytest.raises(ServiceError, match=r"is of an older Prefect, and a server or a run works in it: stop that"):
            ready_database()
    assert ask(older, "select version_num from alembic_version") == old
    ready_database()
    assert ask(older, "select version_num from alembic_version") != old
    assert ask(older, "select name from flow") == "somebody’s"
    assert is_ready(older)


def test_a_newer_one_is_refused(database: Path) -> None:
    begin_a_flow(database)
    ask(database, "pragma user_version = 0")
    ask(database, "update alembic_version set version_num = 'of tomorrow'")
    with pytest.raises(
        ServiceError, match=r"was written by a newer Prefect than .*: install that version again, or set"
    ):
        ready_database()


def test_one_of_postgresql_is_left_to_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://nobody@127.0.0.1:1/prefect")
    ready_database()
    assert list(tmp_path.glob("*.db")) == []
    assert server_environment() == {}
