"""The Parquet contracts: columns and types of each table, and how to write and read it. Equal tables give equal bytes:
no times, no pandas metadata, one fixed compression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lib.errors import StoreError

SPLITS = ("train", "validation", "test")  # a split's number is its position here
ROW_GROUP = 2**20  # rows that are copied at once, whose texts lie in one piece then
AGAIN = "remove its folder, and the step that wrote it runs again"


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


NO_COLUMNS = pa.schema([])

# id: the message's row number in the source, over all of its files in the order train, validation, test (see
# `lib.data.messages.files`); target: the position of its label among the sorted names.
MESSAGES = _schema(id=pa.int64(), text=pa.string(), label=pa.string())
# The value of a column that a recipe names, of each message; null where there is none.
SLICES = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("value", pa.string())])
# A row of a source that is no message, or no entry: `line` is null in formats without lines.
LEFT_OUT = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
# The line of the source in which a message begins, from 1; null in formats without lines.
LINES = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("line", pa.int64())])
# Of a message, by what it is compared with others: see `lib.data.messages.keys`.
KEYS = _schema(near_high=pa.uint64(), near_low=pa.uint64(), exact=pa.uint64())
KEYED_MESSAGES = pa.schema([*MESSAGES, *KEYS])
SPLIT = _schema(id=pa.int64(), text=pa.string(), label=pa.string(), target=pa.int64())
TOKENS = _schema(id=pa.int64(), tokens=pa.list_(pa.int32()), target=pa.int64())
KEYED_SPLIT = pa.schema([*SPLIT, *KEYS])
# A row for each window of a message; window: its number in the message, from 0.
WINDOWS = _schema(id=pa.int64(), tokens=pa.list_(pa.int32()), target=pa.int64(), window=pa.int64())

# id: the entry's position in the source file, from 0; response_start: the response's first position in `tokens`.
ENTRIES = _schema(id=pa.int64(), instruction=pa.string(), input=pa.string(), output=pa.string())
ENTRY_TOKENS = _schema(id=pa.int64(), tokens=pa.list_(pa.int32()), response_start=pa.int64())
# Columns that tables have besides where an entry has several turns. earlier: what was said before the instruction;
# earlier_answers: of each answer in it, the position of its first token and of the one behind its end token.
EARLIER = _schema(earlier=pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))
EARLIER_ANSWERS = _schema(earlier_answers=pa.list_(pa.int64()))
# An entry that is longer than the model reads; outcome: see `lib.text.entry_tokens`.
LONG_ENTRIES = _schema(id=pa.int64(), split=pa.string(), tokens=pa.int64(), outcome=pa.string())
# An entry with a model's response; `tokens`: generated without the end token; `stopped`: ended before the limit.
ANSWERS = _schema(
    id=pa.int64(),
    instruction=pa.string(),
    input=pa.string(),
    output=pa.string(),
    response=pa.string(),
    tokens=pa.int64(),
    stopped=pa.bool_(),
)
# Measurements of one answer: see `lib.evaluation.instruct.answers`.
MEASURED_ANSWERS = _schema(
    id=pa.int64(),
    exact_match=pa.bool_(),
    chrf=pa.float64(),
    characters=pa.int64(),
    tokens=pa.int64(),
    stopped=pa.bool_(),
)
# A judge's verdict: see `lib.evaluation.judge.asking.Verdict`; a missing score is null.
VERDICTS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("score", pa.int64()),
        pa.field("reply", pa.string(), nullable=False),
        pa.field("reminders", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
    ]
)


def save_table(
    frame: pd.DataFrame,
    file: Path,
    schema: pa.Schema,
    *,
    optional: pa.Schema = NO_COLUMNS,
) -> None:
    """Writes the schema's columns of `frame`, rows in order, without its index, and of the `optional` columns those
    that it has."""
    schema = pa.schema([*schema, *(field for field in optional if field.name in frame)])
    columns = [pa.array(frame[field.name], type=field.type, from_pandas=True) for field in schema]
    write_table(pa.table(columns, schema=schema), file)


def write_table(table: pa.Table, file: Path) -> None:
    """Writes a table: the same rows give the same bytes, however they lie in memory."""
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for first in range(0, max(1, len(table)), ROW_GROUP):
            writer.write_table(table.slice(first, ROW_GROUP).combine_chunks(), ROW_GROUP)


def load_table(file: Path, schema: pa.Schema, *, optional: pa.Schema = NO_COLUMNS) -> pd.DataFrame:
    """Reads the schema's columns, and of the `optional` ones those that are there: numbers as int64, texts as str,
    tokens as int32 arrays. Raises StoreError if the file is missing or damaged, or lacks a column."""
    try:
        with pq.ParquetFile(file) as source:
            there = source.schema_arrow.names
            require_columns(file, schema, there)
            schema = pa.schema([*schema, *(field for field in optional if field.name in there)])
            table = source.read(columns=schema.names).select(schema.names)
        frame: pd.DataFrame = table.replace_schema_metadata().cast(schema).to_pandas()
        return frame
    except (OSError, ValueError, pa.ArrowException) as error:
        raise unreadable(file, error) from error


def with_labels(schema: pa.Schema, labels: Sequence[str]) -> pa.Schema:
    """Returns the schema with the label names, in the order of their targets."""
    return schema.with_metadata({"labels": json.dumps(list(labels), ensure_ascii=False)})


def labels_of(schema: pa.Schema, file: Path) -> tuple[str, ...]:
    """Returns the label names that `with_labels` put into a file's schema; raises StoreError if it has none."""
    try:
        return tuple(json.loads((schema.metadata or {})[b"labels"]))
    except (KeyError, ValueError) as error:
        raise StoreError(f"{file} has no label names: {AGAIN}") from error


def require_columns(file: Path, schema: pa.Schema, there: Sequence[str]) -> None:
    """Raises StoreError if a file lacks a column of the schema."""
    missing = [name for name in schema.names if name not in there]
    if missing:
        raise StoreError(f"{file} has no column {missing[0]!r}: {AGAIN}")


def unreadable(file: Path, error: Exception) -> StoreError:
    """Returns what is said of a file that cannot be read."""
    return StoreError(f"{file} cannot be read as a table ({error}): {AGAIN}")
