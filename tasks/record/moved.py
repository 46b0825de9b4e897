"""Gives the files of local MLflow runs and models their new address after the home was moved or copied.

MLflow notes where files lie as absolute addresses. Without this, a moved home's models cannot be loaded, and new runs
write into the old place.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

# Where MLflow notes addresses, as table and column (mlflow.store.tracking.dbmodels and model_registry.dbmodels).
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
WAIT_SECONDS = 30.0  # for other processes that write


def follow_files(database: Path, folder: Path) -> int:
    """Rewrites the addresses in MLflow's SQLite file `database` that begin with another home's folder of the same name
    as `folder`, where the files are now. Returns how many were rewritten.

    The other homes are those of experiments, whose files lie in the folder itself. Raises sqlite3.Error if the file
    cannot be read, or written where that is necessary.
    """
    here = folder.as_uri()
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection, connection:
        places = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        old = [place for (place,) in places if place != here and place.endswith(f"/{folder.name}")]
        return sum(_rewrite(connection, table, column, there, here) for there in old for table, column in ADDRESSES)


def _rewrite(connection: sqlite3.Connection, table: str, column: str, there: str, here: str) -> int:
    changed = connection.execute(
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
        (here, len(there) + 1, there, len(there) + 1, f"{there}/"),
    )
    return changed.rowcount
