"""Values by the ids of messages, and by their texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.data import groups
from lib.data.lookup import by_text, look_up, places
from lib.data.parts import FileWriter, Parts
from lib.data.tables import LINES


def test_places_are_those_of_a_search_one_by_one() -> None:
    draw = np.random.default_rng(1)
    for kind in (np.int64, np.uint64):
        known, values = np.unique(draw.integers(0, 40, 20).astype(kind)), draw.integers(0, 50, 60).astype(kind)
        expected = [known.tolist().index(value) if value in known else -1 for value in values.tolist()]
        assert places(values, known).tolist() == expected
        assert places(values, known[:0]).tolist() == [-1] * 60
        assert places(values[:0], known).tolist() == []


def test_values_are_found_by_ids_in_any_order_null_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 3)
    with FileWriter(tmp_path / "lines.parquet", LINES) as writer:  # ids are in the order of splits, not ascending
        writer.write(pa.table({"id": [7, 8, 2, 3, 2**40, 0], "line": [70, None, 20, 30, 5, 1]}, schema=LINES))
    table = Parts(tmp_path / "lines.parquet", LINES)
    assert look_up(table, "line", np.array([2**40, 2, 8, 9, 2, 7])).to_pylist() == [5, 20, None, None, 20, 70]
    assert look_up(table, "line", np.zeros(0, np.int64)).to_pylist() == []


def test_values_are_found_by_texts_the_last_one_of_several() -> None:
    batches = [(pa.array(["a", "b", "a"]), pa.array([1, 2, 3])), (pa.array([], pa.string()), pa.array([], pa.int64()))]
    assert by_text([*batches, (pa.array(["c", "b"]), pa.chunked_array([[4], [5]]))], ["b", "c", "z", "b"]) == {
        "b": 5,
        "c": 4,
    }
