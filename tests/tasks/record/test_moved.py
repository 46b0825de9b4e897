"""A home that was moved or copied: MLflow's addresses follow, and no others change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tasks.record.moved import ADDRESSES, follow_files


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
