"""What the Parquet tables look like on disk, and that they come back as they went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.tables import MESSAGES, SPLIT, TOKENS, load_table, save_table
from lib.errors import StoreError


def split_table() -> pd.DataFrame:
    texts = ["NA", " two spaces  ", "emoji 👍\r\nline", "007"]
    return pd.DataFrame(
        {"id": [3, 1, 2, 0], "text": texts, "label": ["ham", "spam", "ham", "ham"], "target": [0, 1, 0, 0]}
    )


def test_rows_come_back_as_they_went(tmp_path: Path) -> None:
    save_table(split_table(), tmp_path / "train.parquet", SPLIT)
    back = load_table(tmp_path / "train.parquet", SPLIT)
    assert back.to_dict("list") == split_table().to_dict("list")
    assert back["id"].dtype == back["target"].dtype == np.dtype("int64")
    assert all(type(text) is str for text in [*back["text"], *back["label"]])


def test_tokens_are_int32_lists_on_disk_and_arrays_in_memory(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [0, 1], "tokens": [[1, 50256], [7]], "target": [1, 0]})
    save_table(frame, tmp_path / "train.parquet", TOKENS)
    assert pq.read_schema(tmp_path / "train.parquet").field("tokens").type == pa.list_(pa.int32())
    back = load_table(tmp_path / "train.parquet", TOKENS)["tokens"]
    assert [tokens.tolist() for tokens in back] == [[1, 50256], [7]]
    assert all(tokens.dtype == np.int32 for tokens in back)
    save_table(load_table(tmp_path / "train.parquet", TOKENS), tmp_path / "again.parquet", TOKENS)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "train.parquet").read_bytes()


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    save_table(split_table().iloc[:0], tmp_path / "reserve.parquet", MESSAGES)
    back = load_table(tmp_path / "reserve.parquet", MESSAGES)
    assert list(back.columns) == ["id", "text", "label"]
    assert len(back) == 0


def test_same_table_same_bytes_whatever_its_index_and_attributes(tmp_path: Path) -> None:
    save_table(split_table(), tmp_path / "one.parquet", SPLIT)
    other = split_table()[["target", "label", "text", "id"]].set_index(pd.Index([9, 8, 7, 6]))
    other.attrs["note"] = "not part of the table"
    save_table(other, tmp_path / "other.parquet", SPLIT)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    save_table(split_table(), tmp_path / "train.parquet", MESSAGES)
    with pytest.raises(StoreError, match=r"train\.parquet has no column 'target': remove its folder"):
        load_table(tmp_path / "train.parquet", SPLIT)


def test_a_wrong_type_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x"], "text": ["a"], "label": ["b"]}), tmp_path / "messages.parquet")
    with pytest.raises(StoreError, match="cannot be read as a table"):
        load_table(tmp_path / "messages.parquet", MESSAGES)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 but not really PAR1"])
def test_a_missing_or_damaged_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "messages.parquet").write_bytes(content)
    with pytest.raises(StoreError, match=r"messages\.parquet cannot be read as a table"):
        load_table(tmp_path / "messages.parquet", MESSAGES)


def test_a_missing_text_cannot_be_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [0], "text": [None], "label": ["ham"]})
    with pytest.raises(pa.ArrowInvalid, match="null"):
        save_table(frame, tmp_path / "messages.parquet", MESSAGES)


def test_folders_with_an_equals_sign_add_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "step=messages"
    folder.mkdir()
    save_table(split_table(), folder / "messages.parquet", MESSAGES)
    assert list(load_table(folder / "messages.parquet", MESSAGES).columns) == ["id", "text", "label"]
