"""Parquet files of a few kilobytes that stand for gigabytes, and files whose pages are not what they say."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.source.data_file import DataFile
from lib.data.source.parquet import ParquetRows
from lib.data.source.parquet_footer import read_row_groups
from lib.data.source.parquet_pages import read_pages
from lib.data.source.reader import How, open_source, read
from lib.data.source.rows import BATCH_CHARACTERS
from lib.data.source.thrift import Thrift
from lib.errors import ArchiveError, MessagesError

BOMB = r"'mine\.parquet' unpacks to more than 200 times its own size.*write its rows as JSON Lines"
MOST = 2**27  # bytes that Arrow may take to find out


def repeated(text: str, times: int) -> pa.Array:
    """A dictionary of one text."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([text]))


def listed(values: pa.Array) -> pa.Array:
    """One list of them."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def written(folder: Path, columns: dict[str, Any], **options: Any) -> DataFile:
    file = folder / "mine.parquet"
    pq.write_table(pa.table(columns), file, compression="zstd", **options)
    return DataFile(file, file.name)


def text_column(file: DataFile, column: str = "text") -> list[Any]:
    source = ParquetRows(file)
    batches = read(file, How(), source.batches({"text_column": column}))
    return [cell for batch in batches for cell in batch.cells[column]]


BOMBS: dict[str, Callable[[], dict[str, Any]]] = {
    "a dictionary": lambda: {"text": repeated("x" * 2**20, 4096)},  # 474 bytes to 4 GiB
    "a dictionary of short texts": lambda: {"text": repeated("x" * 100, 1_000_000)},
    "texts with one beginning": lambda: {"text": [f"{'x' * 2**20}{number}" for number in range(100)]},
    "a run of nulls": lambda: {"text": pa.nulls(30_000_000, pa.string())},
    "a list of nulls": lambda: {"text": listed(pa.nulls(30_000_000, pa.string()))},
    "a list of a dictionary": lambda: {"text": listed(repeated("x" * 100, 1_000_000))},
    "a structure": lambda: {"text": pa.StructArray.from_arrays([repeated("x" * 2**20, 200)], ["inside"])},
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_in_little_memory(kind: str, tmp_path: Path) -> None:
    prefixes = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
    file = written(tmp_path, BOMBS[kind](), **(prefixes if kind == "texts with one beginning" else {}))
    assert file.path.stat().st_size < 200_000
    pool = pa.default_memory_pool()
    before = pool.max_memory()
    with pytest.raises(ArchiveError, match=BOMB):
        text_column(file, "text.inside" if kind == "a structure" else "text")
    assert pool.max_memory() < before + MOST


@pytest.mark.parametrize("kind", ["a page", "many row groups"])
def test_a_bomb_of_pages_is_refused_before_it_is_read(kind: str, tmp_path: Path) -> None:
    texts = ["x" * (2**26 + 2**20)] if kind == "a page" else ["x" * 2**20] * 70
    file = written(tmp_path, {"text": texts}, use_dictionary=False, row_group_size=1)
    batches = ParquetRows(file).batches({"text_column": "text"})
    with pytest.raises(ArchiveError, match=BOMB):
        next(batches)


def test_other_columns_do_not_count(tmp_path: Path) -> None:
    file = written(tmp_path, {"text": ["a"] * 128, "other": ["x" * 2**20] * 128})
    assert text_column(file) == ["a"] * 128


def test_long_texts_of_a_dictionary_come_in_small_batches(tmp_path: Path) -> None:
    file = written(tmp_path, {"text": repeated("x" * 2**20, 60), "number": list(range(60))})
    sizes = [(batch.first, batch.size) for batch in ParquetRows(file).batches({"text_column": "text"}, start=5)]
    assert sizes[0][0] == 5
    assert sum(size for _, size in sizes) == 55
    assert max(size for _, size in sizes) <= BATCH_CHARACTERS // 2**20


def test_every_kind_of_column_is_read_as_before(tmp_path: Path) -> None:
    texts = ["a", None, "b", "a", ""] * 1000
    columns = {
        "text": texts,
        "dictionary": pa.array(texts).dictionary_encode(),
        "bytes": pa.array([None if text is None else text.encode() for text in texts]),
        "many": [[text, "c"] if text else None for text in texts],
        "inside": [{"text": text, "number": 3} for text in texts],
        "names": pa.array([[("k", text or "")] for text in texts], pa.map_(pa.string(), pa.string())),
    }
    file = written(tmp_path, columns, row_group_size=700)
    for name in ("text", "dictionary", "bytes", "inside.text"):
        assert text_column(file, name) == texts
    assert text_column(file, "many") == columns["many"]
    (first, *_) = ParquetRows(file).records()
    assert first.records[0] == dict.fromkeys(("text", "dictionary", "bytes"), "a") | {
        "many": ["a", "c"],
        "inside": {"text": "a", "number": 3},
        "names": [("k", "a")],
    }


def test_pages_are_counted_as_the_footer_of_an_honest_file_has_them(tmp_path: Path) -> None:
    texts = [f"{number} {'x' * 50}" for number in range(50_000)]
    file = written(tmp_path, {"text": texts}, data_page_version="2.0")
    honest = pq.ParquetFile(file.path).metadata.row_group(0).column(0).total_uncompressed_size  # with the headers
    with file.path.open("rb") as source:
        ((chunk,),) = (group.chunks for group in read_row_groups(source))
        counted = read_pages(source, chunk, most=2**40).unpacked - 4 * len(texts)
    assert 0.99 * honest < counted <= honest


def test_structures_without_end_are_refused() -> None:
    for endless in (b"\x19" * 5000, b"\x1c" * 5000, b"\x19\xfc" + b"\x80" * 80):
        with pytest.raises((ValueError, IndexError)):
            Thrift(endless).structure({})


def test_only_wanted_fields_are_kept() -> None:
    # 1: 3; 2: [{1: 5, 2: "ab"}, {}]; 3: true; 4: [true, false]; 5: -1
    block = bytes([0x15, 6, 0x19, 0x2C, 0x15, 10, 0x18, 2, 97, 98, 0, 0, 0x11, 0x19, 0x21, 1, 2, 0x15, 1, 0])
    thrift = Thrift(block)
    assert thrift.structure({1: {}, 2: {1: {}}, 5: {}}) == {1: 3, 2: [{1: 5}, {}], 5: -1}
    assert thrift.at == len(block)


def test_a_page_that_is_longer_than_the_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, {"text": ["a"]})
    with file.path.open("rb") as source:
        ((chunk,),) = (group.chunks for group in read_row_groups(source))
    header = bytes([0x15, 0, 0x15, 0, 0x15, *([0x80] * 8), 0x01, 0x2C, 0x15, 2, 0x15, 0, 0, 0])  # of 2**55 bytes
    (tmp_path / "page").write_bytes(header)
    with (tmp_path / "page").open("rb") as source, pytest.raises(ValueError, match="a page is longer than the file"):
        read_pages(source, replace(chunk, at=0), most=2**62)
    with (tmp_path / "page").open("rb") as source, pytest.raises(ValueError, match="behind the end"):
        read_pages(source, replace(chunk, at=2**70), most=2**62)


def test_damage_anywhere_is_one_sentence_or_none(tmp_path: Path) -> None:
    file = written(tmp_path, {"text": [f"text {number}" for number in range(200)], "many": [["a", "b"]] * 200})
    whole, dice = file.path.read_bytes(), random.Random(1)
    for _ in range(300):
        block = bytearray(whole)
        for _ in range(dice.choice([1, 1, 8])):
            block[dice.randrange(len(block))] = dice.randrange(256)
        file.path.write_bytes(block)
        with suppress(MessagesError, ArchiveError):
            how = How(format="parquet")
            source = open_source(file, how, {"text_column": "text"})
            for _ in read(file, how, source.batches({"text_column": "text"})):
                pass
            for _ in read(file, how, source.records()):
                pass
