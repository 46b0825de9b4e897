"""Reads in a Parquet file's footer where the parts of its columns lie. pyarrow's own objects for them end the process
where a footer contradicts itself.

https://parquet.apache.org/docs/file-format/metadata/, parquet.thrift
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, Any

from lib.data.source.thrift import Thrift, Wanted

END_BYTES = 8  # the footer's length, and "PAR1"

# The fields of the file's metadata, its row groups, the parts of their columns, and what these say of themselves.
ROW_GROUPS = 4
COLUMNS, GROUP_BYTES, GROUP_ROWS = 1, 2, 3
METADATA = 3
TYPE, CODEC, VALUES, PAGES_AT, DICTIONARY_AT = 1, 4, 5, 9, 11
WANTED: Wanted = {
    ROW_GROUPS: {
        COLUMNS: {METADATA: {field: {} for field in (TYPE, CODEC, VALUES, PAGES_AT, DICTIONARY_AT)}},
        GROUP_BYTES: {},
        GROUP_ROWS: {},
    }
}


@dataclass(frozen=True)
class Chunk:
    """A column's part of a row group. at: its first page's byte; values: with nulls; type, codec: their numbers."""

    at: int
    values: int
    type: int
    codec: int


@dataclass(frozen=True)
class RowGroup:
    """Some rows of the file. size: the bytes of its columns, unpacked, as the footer says; chunks: a column each."""

    rows: int
    size: int
    chunks: tuple[Chunk, ...]


def read_row_groups(source: IO[bytes]) -> list[RowGroup]:
    """Returns the row groups of a Parquet file, in order; raises ValueError where the footer is none."""
    end = source.seek(0, os.SEEK_END)
    source.seek(max(0, end - END_BYTES))
    size = int.from_bytes(source.read(4), "little")
    if size > end - END_BYTES:
        raise ValueError("the footer is longer than the file")
    source.seek(end - END_BYTES - size)
    try:
        fields = Thrift(source.read(size)).structure(WANTED)
    except IndexError:
        raise ValueError("the footer is cut off") from None
    return [_row_group(group) for group in _structures(fields, ROW_GROUPS)]


def _row_group(fields: dict[int, Any]) -> RowGroup:
    chunks = tuple(_chunk(column.get(METADATA)) for column in _structures(fields, COLUMNS))
    return RowGroup(_whole(fields, GROUP_ROWS), _whole(fields, GROUP_BYTES), chunks)


def _chunk(fields: Any) -> Chunk:
    if not isinstance(fields, dict):
        raise ValueError("the footer does not say where a column is, as where columns are encrypted")
    at, dictionary = _whole(fields, PAGES_AT), fields.get(DICTIONARY_AT)
    if isinstance(dictionary, int) and 0 < dictionary < at:
        at = dictionary
    return Chunk(at, _whole(fields, VALUES), _whole(fields, TYPE), _whole(fields, CODEC))


def _structures(fields: dict[int, Any], number: int) -> list[dict[int, Any]]:
    found = fields.get(number, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("the footer is not what the format says")
    return found


def _whole(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int) or value < 0:
        raise ValueError("the footer is not what the format says")
    return value
