"""A home that was moved or copied: MLflow's addresses follow, and no others change."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import tasks.record.read_only
from tasks.record.moved import ADDRESSES, follow_files
from tasks.record.read_only import read_only_uri


def database(folder: Path, *addresses: str) -> Path:
    """A file with MLflow's tables as far as they hold addresses, each address in all of them."""
    folder.mkdir()
    file = folder / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        for table, column in ADDRESSES:
            connection.execute(f"CREATE TABLE {table} ({column} TEXT)")
            connection.executemany(f"INSERT INTO {table} VALUES (?)", [(address,) for address in addresses])
    return file


def held(file: Path) -> set[tuple[str, ...]]:
    """The addresses of each table."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            tuple(address for (address,) in connection.execute(f"SELECT {column} FROM {table}"))
            for table, column in ADDRESSES
        }


def test_addresses_below_the_old_folder_follow_and_others_stay(tmp_path: Path) -> None:
    old, new = "file:///old%20home/mlartifacts", (tmp_path / "new" / "mlartifacts").as_uri()
    others = ("s3://bucket/mlartifacts-2", "file:///old%20home/mlartifacts2/run", "file:///elsewhere/runs")
    file = database(tmp_path / "new", old, f"{old}/run/artifacts", *others)
    assert follow_files(file, tmp_path / "new" / "mlartifacts") == 2 * len(ADDRESSES)
    assert held(file) == {(new, f"{new}/run/artifacts", *others)}
    assert follow_files(file, tmp_path / "new" / "mlartifacts") == 0


def read_at(uri: str) -> list[str]:
    """The addresses of experiments that are found at an address of SQLAlchemy's, where nothing can be written."""
    with create_engine(uri, poolclass=NullPool).connect() as connection:
        found = [str(row.artifact_location) for row in connection.execute(text("SELECT * FROM experiments"))]
        with pytest.raises(Exception, match="readonly database"):
            connection.execute(text("DELETE FROM experiments"))
    return found


def test_one_that_may_not_be_written_is_copied_once_for_each_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "what? 50% #new" / "mlartifacts"
    file = database(folder.parent, "file:///old/mlartifacts")

    def follow(database: Path, folder: Path) -> int:
        if database == file:
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return follow_files(database, folder)

    monkeypatch.setattr(tasks.record.read_only, "follow_files", follow)
    first = read_only_uri(file, folder)
    assert read_at(first) == [folder.as_uri()]
    assert read_only_uri(file, folder) == first
    os.utime(file, (1, 1))
    second = read_only_uri(file, folder)
    assert (read_at(second), second != first) == ([folder.as_uri()], True)
    copies = Path(second.removeprefix("sqlite:///file:").partition("?")[0]).parent
    assert len(list(copies.iterdir())) == 1
    assert follow_files(file, folder) == len(ADDRESSES)
    monkeypatch.undo()
    assert read_at(read_only_uri(file, folder)) == [folder.as_uri()]  # the file itself, which fits
