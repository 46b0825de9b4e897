"""SQLite files that are made beside their place: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lib.files import sqlite
from lib.files.sqlite import holds_something, is_in_use, is_of, made_beside, mark, opened, revision, sweep


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sqlite, "WAIT_SECONDS", 0.0)
    return tmp_path / "50%41? [1].db"


def make(database: Path, of: Path | None = None) -> None:
    with made_beside(database, "2.0", of) as begun, opened(begun) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value)")
        connection.execute("INSERT INTO kept VALUES (1)")


def values(database: Path) -> list[int]:
    with opened(database) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept")]


@pytest.fixture
def made(database: Path) -> Path:
    make(database)
    return database


def test_what_was_written_into_its_log_is_in_the_one_file(made: Path) -> None:
    assert [file.name for file in made.parent.iterdir()] == [made.name]
    with opened(made) as connection:
        assert is_of(connection, "2.0")
        assert not is_of(connection, "2.1")
    assert values(made) == [1]


def test_one_that_is_still_in_use_does_not_take_its_place(made: Path) -> None:
    def make_in_sight_of(other: sqlite3.Connection) -> None:
        with made_beside(made, "3.0", made) as begun:
            for statement in ("PRAGMA journal_mode = WAL", "BEGIN", "SELECT * FROM kept"):
                other.execute(statement).fetchall()
            with opened(begun) as connection:
                connection.execute("INSERT INTO kept VALUES (2)")

    with closing(sqlite3.connect(made.parent / f".{made.name}-new", timeout=0, isolation_level=None)) as other:
        with pytest.raises(sqlite3.OperationalError, match="in use"):
            make_in_sight_of(other)
        other.rollback()
    assert values(made) == [1]
    assert [file.name for file in made.parent.iterdir()] == [made.name]


def test_what_fails_leaves_nothing_and_what_a_kill_leaves_is_swept(made: Path) -> None:
    def fail() -> None:
        with made_beside(made, "3.0", made) as begun:
            begun.with_name(f"{begun.name}-wal").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert values(made) == [1]
    assert [file.name for file in made.parent.iterdir()] == [made.name]
    for suffix in ("new", "new-wal"):
        (made.parent / f".{made.name}-{suffix}").touch()
    other = made.parent / ".50%41? 1.db-new"
    other.touch()
    sweep(made)
    assert {file.name for file in made.parent.iterdir()} == {made.name, other.name}


def test_who_writes_into_the_old_one_meanwhile_is_refused(made: Path) -> None:
    with closing(sqlite3.connect(made, timeout=0, isolation_level=None)) as live:
        assert live.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        with made_beside(made, "3.0", made):
            with pytest.raises(sqlite3.OperationalError) as locked:
                live.execute("INSERT INTO kept VALUES (2)")
            assert is_in_use(locked.value)
        with pytest.raises(sqlite3.OperationalError, match="readonly") as moved:
            live.execute("INSERT INTO kept VALUES (2)")
    assert not is_in_use(moved.value)
    assert values(made) == [1]


def test_only_a_file_that_others_use_is_in_use(made: Path) -> None:
    with opened(made) as connection, pytest.raises(sqlite3.OperationalError) as wrong:
        connection.execute("SELECT * FROM missing")
    assert not is_in_use(wrong.value)
    assert not is_in_use(sqlite3.OperationalError("not SQLite's own"))


def test_a_half_made_one_is_told_by_its_tables(made: Path) -> None:
    with opened(made) as connection:
        assert revision(connection) is None
        connection.execute("CREATE TABLE alembic_version (version_num)")
        assert revision(connection) is None
        connection.execute("INSERT INTO alembic_version VALUES ('f00')")
        assert revision(connection) == "f00"
        assert holds_something(connection, ["missing", "kept"])
        connection.execute("DELETE FROM kept")
        assert not holds_something(connection, ["missing", "kept"])
        mark(connection, "4.0")
        assert is_of(connection, "4.0")
