"""Keeps a comparison as a table: a row for each variant, a column for all that is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from lib.comparison.markdown import published_splits
from lib.comparison.story import Story

# Of `lib.comparison.values.Row`, which says what they mean; `published_SPLIT`, `changes` (JSON) and `link` follow.
COLUMNS: dict[str, pa.DataType] = {
    "name": pa.string(),
    "state": pa.string(),
    "reason": pa.string(),
    "candidate": pa.bool_(),
    "chosen": pa.bool_(),
    "repeats": pa.int64(),
    "value": pa.float64(),
    "deviation": pa.float64(),
    "low": pa.float64(),
    "high": pa.float64(),
    "accuracy": pa.float64(),
    "log_loss": pa.float64(),
    "difference": pa.float64(),
    "wins": pa.int64(),
    "losses": pa.int64(),
    "p_value": pa.float64(),
    "adjusted": pa.float64(),
    "beyond_noise": pa.bool_(),
    "relation": pa.string(),
    "seconds": pa.float64(),
    "parameters": pa.int64(),
    "trainable_parameters": pa.int64(),
    "peak_memory": pa.int64(),
    "on_front": pa.bool_(),
}


def table(story: Story) -> pa.Table:
    """Returns the table, its rows in the variants' order. `metric` and `reference` are the same in each row."""
    comparison = story.comparison
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(row, name) for row in comparison.rows], kind) for name, kind in COLUMNS.items()
    }
    rows = len(comparison.rows)
    columns["metric"] = pa.array([comparison.metric] * rows, pa.string())
    columns["reference"] = pa.array([comparison.reference] * rows, pa.string())
    for split in published_splits(comparison):
        columns[f"published_{split}"] = pa.array([row.published.get(split) for row in comparison.rows], pa.float64())
    columns["changes"] = pa.array([_json(row.changes) for row in comparison.rows], pa.string())
    columns["link"] = pa.array([row.link for row in comparison.rows], pa.string())
    return pa.table(columns)


def write_parquet(story: Story, file: Path) -> None:
    """Writes the table as Parquet."""
    import pyarrow.parquet as pq

    pq.write_table(table(story), file)


def write_csv(story: Story, file: Path) -> None:
    """Writes the table as CSV: UTF-8, texts in double quotes, nothing where there is no figure.

    Names and reasons are written as they are. A spreadsheet may take one that begins with = for a formula.
    """
    from pyarrow import csv

    csv.write_csv(table(story), file, csv.WriteOptions(quoting_style="needed"))


def _json(changes: Any) -> str:
    return json.dumps(dict(changes), ensure_ascii=False, default=str)
