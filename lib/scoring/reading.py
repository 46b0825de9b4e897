"""Rows of the input files, one after the other, in bounded memory.

Here belongs the choice of the reader, and a damaged file in one sentence. Unlike `lib.data.source.formats`, which
refuses a file with one bad row because a training must not lose messages silently, this reads on: a bad row is told
with its reason. Rows are counted as there, from 0 over the rows with data; lines from 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from lib.errors import MessagesError
from lib.scoring.inputs import InputFile
from lib.scoring.parquet_rows import columns_to_read, parquet_rows
from lib.scoring.rows import Columns, Row
from lib.scoring.text_rows import check_json_columns, delimited_rows, json_rows


def count_rows(file: InputFile) -> int | None:
    """How many rows there are, where that is known without reading the file; None where it is not."""
    if file.format != "parquet":
        return None
    with _errors_are_clear(file), pq.ParquetFile(file.path) as source:
        return int(source.metadata.num_rows)


def check_file(file: InputFile, columns: Columns) -> None:
    """Looks at the beginning of a file; raises MessagesError if it cannot be read or lacks a column."""
    with _errors_are_clear(file):
        if file.format == "parquet":
            with pq.ParquetFile(file.path) as source:
                columns_to_read(file.name, source.schema_arrow, columns)
        elif file.format == "jsonl":
            check_json_columns(file, columns)
        else:
            next(delimited_rows(file, columns, 0), None)


def read_rows(file: InputFile, columns: Columns, *, start: int = 0) -> Iterator[Row]:
    """The rows from number `start` on.

    Raises MessagesError, as rows are taken, if the file is damaged, a quote is never closed or a line is too long.
    """
    readers: dict[str, Callable[[InputFile, Columns, int], Iterator[Row]]] = {
        "parquet": parquet_rows,
        "jsonl": json_rows,
        "csv": delimited_rows,
        "tsv": delimited_rows,
    }
    with _errors_are_clear(file):
        yield from readers[file.format](file, columns, start)


@contextmanager
def _errors_are_clear(file: InputFile) -> Iterator[None]:
    """What a damaged file makes the readers raise, as one sentence."""
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        kind = {"parquet": "Parquet", "jsonl": "JSON Lines"}.get(file.format, file.format.upper())
        kind = f"gzipped {kind}" if file.gzipped else kind
        raise MessagesError(
            f"{file.name} cannot be read as {kind} ({' '.join(str(error).split())}): write it again, or say what else"
            " it is with --format; finished parts are kept"
        ) from error
