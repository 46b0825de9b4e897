"""Counts the rows and labels of a whole file with Arrow, which reads a hundred megabytes in a fraction of a second.

Arrow divides lines into fields by other rules than ours where a file is odd, so what it counts is believed only if it
reads the same labels as `lib.data.inspection.labelled` in the rows that both read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lib.data.source.cells import as_text
from lib.data.source.columns import Column
from lib.data.source.data_file import DataFile
from lib.data.source.parquet import ParquetRows
from lib.data.source.rows import Form

BLOCK = 2**20  # bytes
JSON_BLOCK = 8 * 2**20  # bytes; no object may be longer


@dataclass(frozen=True)
class Counts:
    """Rows that can be read, of each label as it is written (None: null); unreadable: rows with a wrong number of
    fields."""

    labels: Counter[str | None]
    unreadable: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return self.labels.total() + self.unreadable


def count_labels(file: DataFile, form: Form, label: Column, first: Sequence[str | None]) -> Counts | None:
    """Counts the labels of a file; None if Arrow cannot, or reads others than `first`, those of the first rows that can
    be read."""
    if form.kind == "parquet":
        cells = ParquetRows(file).counts(label)
        return Counts(Counter({as_text(cell, file.name, label): count for cell, count in cells.items()}))
    if form.encoding is None or (form.kind == "jsonl" and (form.layout, form.encoding.name) != ("lines", "utf-8")):
        return None
    try:
        labels, unreadable = (_of_json if form.kind == "jsonl" else _of_lines)(file, form, label)
    except (pa.ArrowException, OSError, ValueError, LookupError):
        return None
    if list(map(_written, labels[: len(first)].to_pylist())) != list(first):
        return None
    counts = {_written(value["values"]): value["counts"] for value in labels.value_counts().to_pylist()}
    return Counts(Counter(counts), unreadable)


def _written(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _of_lines(file: DataFile, form: Form, label: Column) -> tuple[pa.ChunkedArray, int]:
    from pyarrow import csv

    wrong = 0

    def skip(_: csv.InvalidRow) -> str:
        nonlocal wrong
        wrong += 1
        return "skip"

    at = list(form.columns).index(label)
    names = [str(position) for position in range(len(form.columns))]
    with file.opened() as source:
        table = csv.read_csv(
            source,
            read_options=csv.ReadOptions(
                column_names=names,
                skip_rows_after_names=int(bool(form.header)),
                block_size=BLOCK,
                encoding=form.encoding.name if form.encoding else "utf-8",
            ),
            parse_options=csv.ParseOptions(
                delimiter=form.separator,
                quote_char=False if form.quoting == "none" else '"',
                escape_char="\\" if form.quoting == "backslash" else False,
                newlines_in_values=form.quoting != "none",
                invalid_row_handler=skip,
            ),
            convert_options=csv.ConvertOptions(
                include_columns=[str(at)], column_types={str(at): pa.string()}, strings_can_be_null=False
            ),
        )
    return table.column(0), wrong


def _of_json(file: DataFile, form: Form, label: Column) -> tuple[pa.ChunkedArray, int]:  # noqa: ARG001
    from pyarrow import json

    for kind in (pa.string(), pa.int64(), pa.bool_()):
        with suppress(pa.ArrowInvalid), file.opened() as source:
            table = json.read_json(
                source,
                read_options=json.ReadOptions(block_size=JSON_BLOCK),
                parse_options=json.ParseOptions(
                    explicit_schema=pa.schema([(str(label), kind)]), unexpected_field_behavior="ignore"
                ),
            )
            return table.column(str(label)), 0
    raise ValueError("values of several types")
