"""Reads the rows of files to score, with the reader that training has. Bytes that cannot be decoded make one row
unscorable, not the file unreadable, and no encoding is guessed: nobody is there to see that it was the wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lib.data.source.cells import Number
from lib.data.source.columns import ABSENT, Column
from lib.data.source.data_file import DataFile
from lib.data.source.kinds import HEAD_BYTES, kind_of
from lib.data.source.parquet import ParquetRows
from lib.data.source.reader import How, open_source, options, read, readable
from lib.data.source.rows import NO_FIELD, Batch, Source
from lib.scoring.inputs import InputFile
from lib.scoring.rows import NOT_TEXT, NULL, Columns, Row, as_utf8, scorable

KEPT = "; finished parts are kept"


def count_rows(file: InputFile, columns: Columns) -> int | None:
    """Returns the number of rows if it is known without reading the file, otherwise None."""
    if kind_of(_data_file(file).head(HEAD_BYTES)) != "parquet":
        return None  # without asking what else it is
    source = _opened(file, columns)
    return source.rows if isinstance(source, ParquetRows) else None


def check_file(file: InputFile, columns: Columns) -> None:
    """Reads the beginning of a file; raises MessagesError if it is unreadable or lacks a column."""
    source = _opened(file, columns)
    with readable(_data_file(file), _how(file, columns)):
        source.check(_by_flag(columns), {columns.text})
        next(source.batches(_by_flag(columns)), None)


def read_rows(file: InputFile, columns: Columns, *, start: int = 0) -> Iterator[Row]:
    """Yields the rows from number `start` on.

    Raises MessagesError if the file is damaged, a quote is never closed or a line is too long.
    """
    batches = _opened(file, columns).batches(_by_flag(columns), start=start)
    for batch in read(_data_file(file), _how(file, columns), batches):
        yield from _rows(batch, columns)


def _opened(file: InputFile, columns: Columns) -> Source:
    return open_source(_data_file(file), _how(file, columns), _by_flag(columns))


def _data_file(file: InputFile) -> DataFile:
    return DataFile(file.path, file.name)


def _how(file: InputFile, columns: Columns) -> How:
    return How(
        file.said,
        columns.encoding,
        columns.separator,
        columns.quoting,
        columns.sheet,
        detect=False,
        damaged_rows=True,
        options=options(""),
        kept=KEPT,
    )


def _by_flag(columns: Columns) -> dict[str, Column]:
    wanted = {"--text_column": columns.text, "--id_column": columns.id}
    return {flag: column for flag, column in wanted.items() if column is not None}


def _rows(batch: Batch, columns: Columns) -> Iterator[Row]:
    texts = batch.cells[columns.text]
    ids = [None] * batch.size if columns.id is None else batch.cells[columns.id]
    for at, (text, given) in enumerate(zip(texts, ids, strict=True)):
        number, line = batch.first + at, None if batch.lines is None else batch.lines[at]
        unreadable, own = batch.unreadable.get(at), _as_id(given)
        if unreadable is not None and (unreadable.reason != NO_FIELD or text is ABSENT):
            yield Row(number, line, own, reason=unreadable.reason)
        elif text is None:
            yield Row(number, line, own, reason=NULL)
        elif not isinstance(text, str) or isinstance(text, Number):
            yield Row(number, line, own, reason=NOT_TEXT)
        else:
            yield scorable(number, line, own, text)


def _as_id(given: Any) -> str | None:
    if given is None or given is ABSENT:
        return None
    if isinstance(given, bool | list | dict):
        given = json.dumps(given, default=str)
    return as_utf8(str(given))
