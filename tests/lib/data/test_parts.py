"""Tables in parts: the same bytes in whatever pieces rows come, read by group and by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.data import groups, parts
from lib.data.parts import FileWriter, Parts, PartsWriter, load_parts, save_parts, save_rows
from lib.data.tables import MESSAGES, SPLIT, TOKENS
from lib.errors import StoreError

FORMS: tuple[parts.Form, ...] = ("parquet", "arrow")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", 12)
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 4)


def rows(count: int) -> pa.Table:
    ids = np.arange(count)
    return pa.table(
        {
            "id": ids,
            "text": [f"text {number}" * (number % 3) for number in ids],
            "label": [("ham", "spam")[number % 2] for number in ids],
        },
        schema=MESSAGES,
    )


def written(folder: Path, table: pa.Table, pieces: list[int], form: parts.Form) -> Parts:
    with PartsWriter(folder, MESSAGES, labels=["ham", "spam"], form=form) as writer:
        first = 0
        for size in pieces:
            writer.write(table.slice(first, size))
            first += size
        writer.write(table.slice(first))
        assert writer.rows == len(table)
    return Parts(folder, MESSAGES)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 1, 4, 11, 12, 13, 24, 29])
def test_rows_come_back_in_order_from_parts_of_equal_size(form: parts.Form, count: int, tmp_path: Path) -> None:
    table = rows(count)
    made = written(tmp_path / "t", table, [], form)
    assert made.table() == table
    assert len(made) == count
    assert made.labels == ("ham", "spam")
    assert np.diff(made.starts).tolist() == [min(12, count - first) for first in range(0, max(count, 1), 12)]
    assert all(len(batch) == 4 for number in range(len(made.files) - 1) for batch in made.part(number))
    assert [file.name for file in made.files] == [f"part-{number:05}.{form}" for number in range(len(made.files))]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_give_the_same_bytes_in_whatever_pieces_they_come(form: parts.Form, tmp_path: Path) -> None:
    table = rows(29)
    whole = written(tmp_path / "whole", table, [], form)
    for number, pieces in enumerate(([1] * 29, [5, 0, 7, 1], [28])):
        again = written(tmp_path / f"{number}", table, pieces, form)
        assert [file.read_bytes() for file in again.files] == [file.read_bytes() for file in whole.files]


@pytest.mark.parametrize("form", FORMS)
def test_a_group_ends_before_its_texts_are_too_many_bytes(
    form: parts.Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "BYTES_PER_GROUP", 10)
    lengths = [1, 2, 20, 8, 3, 0, 0, 0, 0, 11, 1]  # of which 20 and 11 alone are more
    table = pa.table({"id": range(11), "text": ["x" * length for length in lengths], "label": [""] * 11}, MESSAGES)
    whole = written(tmp_path / "whole", table, [], form)
    assert [len(batch) for batch in whole.batches()] == [2, 1, 1, 4, 1, 1, 1]
    assert whole.table() == table
    assert whole.take([10, 3, 2, 7, 9, 3]) == table.take(pa.array([10, 3, 2, 7, 9, 3]))
    again = written(tmp_path / "again", table, [1, 4, 3], form)
    assert [file.read_bytes() for file in again.files] == [file.read_bytes() for file in whole.files]
    lists = pa.table({"id": [0, 1, 2], "tokens": [[1, 2], [3], [4]], "target": [0, 1, 0]}, schema=TOKENS)
    with PartsWriter(tmp_path / "tokens", TOKENS, form=form) as writer:
        writer.write(lists)
    assert [len(batch) for batch in Parts(tmp_path / "tokens", TOKENS).batches()] == [1, 2]


def test_texts_of_more_bytes_than_one_column_of_arrow_holds_are_put_into_another_order(tmp_path: Path) -> None:
    class Repeated(Parts):
        """A table that has its rows 50 times, where they lie."""

        def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
            return iter(list(super().batches(columns)) * 50)

    texts = [f"{row:02}" + "x" * (2**20 - 2) for row in range(48)]  # 50 times 48 MiB are 2.3 GiB
    save_parts(pd.DataFrame({"id": range(48), "text": texts, "label": "a"}), tmp_path / "t", MESSAGES)
    table = Repeated(tmp_path / "t", MESSAGES)
    rows = np.array([2399, 0, 1500, 49])
    save_rows(table, rows, tmp_path / "made", MESSAGES)
    made = Parts(tmp_path / "made", MESSAGES).frame()
    assert made["id"].tolist() == [47, 0, 12, 1]
    assert [text[:2] for text in made["text"]] == ["47", "00", "12", "01"]


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_taken_by_position_in_the_order_asked_for(form: parts.Form, tmp_path: Path) -> None:
    table = rows(29)
    made = written(tmp_path / "t", table, [], form)
    for asked in ([], [3], [28, 0, 12, 11, 12, 5], list(range(29))):
        assert made.take(asked) == table.take(pa.array(asked, pa.int64()))
    assert made.take([13, 2], ["text"]).column("text").to_pylist() == ["text 13", "text 2text 2"]
    assert made.numbers("id").tolist() == list(range(29))


def test_lists_of_tokens_are_read_as_arrays(tmp_path: Path) -> None:
    table = pa.table({"id": [0, 1], "tokens": [[1, 2], [3]], "target": [0, 1]}, schema=TOKENS)
    with PartsWriter(tmp_path / "t", TOKENS, form="arrow") as writer:
        writer.write(table)
    read = load_parts(tmp_path / "t", TOKENS)["tokens"]
    assert [each.tolist() for each in read] == [[1, 2], [3]]
    assert read[0].dtype == np.int32


def test_a_single_file_is_read_like_parts(tmp_path: Path) -> None:
    with FileWriter(tmp_path / "lines.parquet", MESSAGES) as writer:
        writer.write(rows(29))
    assert Parts(tmp_path / "lines.parquet", MESSAGES).table() == rows(29)
    assert Parts(tmp_path / "lines.parquet", MESSAGES).take([20]) == rows(29).slice(20, 1)


def test_what_is_missing_or_damaged_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no part of a table: remove its folder"):
        Parts(tmp_path / "none", MESSAGES)
    save_parts(rows(20).to_pandas(), tmp_path / "t", MESSAGES)
    with pytest.raises(StoreError, match=r"part-00000\.parquet has no column 'target'"):
        Parts(tmp_path / "t", SPLIT)
    with pytest.raises(StoreError, match="has no label names"):
        _ = Parts(tmp_path / "t", MESSAGES).labels
    last = tmp_path / "t" / "part-00001.parquet"
    last.write_bytes(last.read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"part-00001\.parquet cannot be read as a table"):
        load_parts(tmp_path / "t", MESSAGES)


def test_a_frame_goes_in_and_comes_back(tmp_path: Path) -> None:
    frame = rows(13).to_pandas()
    save_parts(frame, tmp_path / "t", MESSAGES, labels=["ham", "spam"])
    pd.testing.assert_frame_equal(load_parts(tmp_path / "t", MESSAGES), frame)
