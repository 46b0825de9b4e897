import math
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from lib.progress import Listener
from lib.training.history import history_schema, history_table, read_history, replay, write_history

ROWS = [
    {
        "step": 0,
        "epoch": 0.25,
        "examples_seen": 8,
        "tokens_seen": 91,
        "seconds": 0.5,
        "learning_rate": 5e-5,
        "train_loss": 0.7,
        "validation_loss": 0.8,
        "train_accuracy": 0.5,
        "validation_accuracy": 0.625,
    },
    {"step": 3, "epoch": 1.0, "examples_seen": 32, "tokens_seen": 300, "seconds": 2.0, "learning_rate": 5e-5},
]


def test_a_table_has_the_documented_columns_and_types() -> None:
    table = history_table(ROWS, ["accuracy"])
    assert list(table.columns) == [
        "step",
        "epoch",
        "examples_seen",
        "tokens_seen",
        "seconds",
        "learning_rate",
        "train_loss",
        "validation_loss",
        "train_accuracy",
        "validation_accuracy",
    ]
    assert [str(kind) for kind in table.dtypes] == ["int64", "float64", "int64", "int64"] + ["float64"] * 6
    assert math.isnan(table.train_loss[1])


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = history_table(ROWS, ["accuracy"])
    write_history(table, tmp_path / "history.parquet")
    pd.testing.assert_frame_equal(read_history(tmp_path / "history.parquet"), table)


def test_files_are_the_same_bytes_and_what_was_not_measured_is_null(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_history(history_table(ROWS, ["accuracy"]), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    stored = pq.read_table(tmp_path / "one")
    assert stored.schema.equals(history_schema(["accuracy"]), check_metadata=True)
    assert stored["train_loss"].to_pylist() == [0.7, None]


def test_no_rows_make_an_empty_table() -> None:
    table = history_table([])
    assert len(table) == 0
    assert str(table.dtypes["step"]) == "int64"


def test_what_is_told_again_comes_in_the_order_in_which_it_happened() -> None:
    heard: list[object] = []
    rows = [{"step": 0, "epoch": 0.5}, {"step": 1, "epoch": 1.0}, {"step": 2, "epoch": 1.5}]
    listener = Listener(on_row=lambda row: heard.append(row["step"]), on_sample=lambda *told: heard.append(told))
    replay(rows, ["one", "two"], listener)
    assert heard == [0, 1, (1, "one"), 2, (2, "two")]
