"""Reads rows of Parquet files in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from lib.data.source.formats import require_column
from lib.errors import MessagesError
from lib.scoring.inputs import InputFile
from lib.scoring.rows import NULL, Columns, Row, column_names, scorable

READ_ROWS = 4096  # read at once
READ_BYTES = 2**20  # of a column read at once, instead of a whole row group


def columns_to_read(name: str, schema: pa.Schema, columns: Columns) -> list[str]:
    """Returns the names of the columns; MessagesError if one is missing, or if the text column cannot hold text."""
    wanted = column_names(name, columns)
    for flag, column in wanted.items():
        require_column(name, flag, column, schema.names)
    kind = schema.field(str(columns.text)).type
    if not _holds_text(kind):
        raise MessagesError(f"{name}: column {columns.text!r} holds {kind}, not text: set --text_column to another one")
    return list(dict.fromkeys(wanted.values()))


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    # Some writers do not say of their bytes that they are text.
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_null(kind)
    )


def parquet_rows(file: InputFile, columns: Columns, start: int) -> Iterator[Row]:
    """Yields the rows from number `start` on, skipping earlier row groups. Raises MessagesError for a wrong column."""
    with pq.ParquetFile(file.path, buffer_size=READ_BYTES, pre_buffer=False) as source:
        names = columns_to_read(file.name, source.schema_arrow, columns)
        groups, number = _row_groups(source.metadata, start)
        for batch in source.iter_batches(batch_size=READ_ROWS, row_groups=groups, columns=names):
            if number + batch.num_rows > start:
                yield from _batch_rows(batch, columns, number, start)
            number += batch.num_rows


def _row_groups(metadata: pq.FileMetaData, start: int) -> tuple[list[int], int]:
    """Returns the row groups from the one with row `start` on, and the number of their first row."""
    before = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if before + rows > start:
            return list(range(group, metadata.num_row_groups)), before
        before += rows
    return [], before


def _batch_rows(batch: pa.RecordBatch, columns: Columns, number: int, start: int) -> Iterator[Row]:
    texts = _bytes_of(batch.column(str(columns.text)))
    ids: Sequence[str | None] = [None] * batch.num_rows
    if columns.id is not None:
        ids = _ids_of(batch.column(str(columns.id)))
    for offset, (text, given) in enumerate(zip(texts, ids, strict=True)):
        if number + offset < start:
            continue
        if text is None:
            yield Row(number + offset, None, given, reason=NULL)
        else:
            yield scorable(number + offset, None, given, text.decode("utf-8", "surrogateescape"))


def _bytes_of(column: pa.Array) -> list[bytes | None]:
    """Returns a text column as bytes, which need not be UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    values: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
    return values


def _ids_of(column: pa.Array) -> list[str | None]:
    if _holds_text(column.type):
        return [None if value is None else value.decode("utf-8", "replace") for value in _bytes_of(column)]
    return [None if value is None else str(value) for value in column.to_pylist()]
