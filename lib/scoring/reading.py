"""Reads rows of input files one by one, in bounded memory.

Unlike `lib.data.source.formats`, where a bad row refuses the file (training must not lose messages silently), a bad row
is returned with its reason. Rows count from 0 over the rows with data; lines from 1.
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
    """Returns the number of rows if it is known without reading the file, otherwise None."""
    if file.format != "parquet":
        return None
    with _errors_are_clear(file), pq.ParquetFile(file.path) as source:
        return int(source.metadata.num_rows)


def check_file(file: InputFile, columns: Columns) -> None:
    """Reads the beginning of a file; raises MessagesError if it is unreadable or lacks a column."""
    with _errors_are_clear(file):
        if file.format == "parquet":
            with pq.ParquetFile(file.path) as source:
                columns_to_read(file.name, source.schema_arrow, columns)
        elif file.format == "jsonl":
            check_json_columns(file, columns)
        else:
            next(delimited_rows(file, columns, 0), None)


def read_rows(file: InputFile, columns: Columns, *, start: int = 0) -> Iterator[Row]:
    """Yields the rows from number `start` on.

    Raises MessagesError if the file is damaged, a quote is never closed or a line is too long.
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
    """Turns what readers raise for a damaged file into one sentence."""
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        kind = {"parquet": "Parquet", "jsonl": "JSON Lines"}.get(file.format, file.format.upper())
        kind = f"gzipped {kind}" if file.gzipped else kind
        raise MessagesError(
            f"{file.name} cannot be read as {kind} ({' '.join(str(error).split())}): write it again, or say what else"
            " it is with --format; finished parts are kept"
        ) from error
