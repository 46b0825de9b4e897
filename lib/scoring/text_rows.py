"""Reads rows of CSV, TSV and JSON Lines, plain or compressed.

Bytes that are not UTF-8 make one row unscorable, not the file unreadable.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TextIO

from lib.data.messages.reading import SEPARATORS
from lib.data.source.compressed import opened
from lib.data.source.formats import column_position, delimited_records, require_column
from lib.data.source.kinds import refuse_no_data
from lib.errors import MessagesError
from lib.scoring.inputs import InputFile
from lib.scoring.rows import (
    NO_FIELD,
    NOT_JSON,
    NOT_TEXT,
    NULL,
    WRONG_FIELDS,
    Columns,
    Row,
    as_utf8,
    column_names,
    scorable,
)

LONGEST_LINE = 16 * 2**20  # characters: a longer line is no text format, and would fill the memory
LOOKED_AT = 100  # JSON lines checked for the columns


@contextmanager
def _opened(file: InputFile) -> Iterator[TextIO]:
    """Opens the file as text; bytes that are not UTF-8 become lone surrogates, to be reported row by row."""
    with opened(file.path) as source:
        head = source.peek(2)
        refuse_no_data(head, file.name)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise MessagesError(f"{file.name} is not UTF-8 (it looks like UTF-16): save the file as UTF-8")
        with io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            yield text


def _lines(source: TextIO, name: str) -> Iterator[str]:
    """Yields lines with their ends; raises MessagesError for a line that would fill the memory."""
    number = 0
    while line := source.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise MessagesError(
                f"{name}, line {number} is longer than {LONGEST_LINE:,} characters: is it the right file, and --format"
                " the right one?"
            )
        yield line


def delimited_rows(file: InputFile, columns: Columns, start: int) -> Iterator[Row]:
    """Yields the rows from number `start` on; MessagesError for a missing column, an open quote or a too long line."""
    with _opened(file) as source:
        records = delimited_records(
            _lines(source, file.name),
            file.name,
            separator=SEPARATORS[file.format],
            quoted=columns.quoted,
            flag="--quoting",
            longest=LONGEST_LINE,
        )
        first = next(records, None)
        if first is None:
            return
        width, header = len(first[1]), [as_utf8(field) for field in first[1]]
        text_at = column_position(file.name, "--text_column", columns.text, header)
        id_at = None if columns.id is None else column_position(file.name, "--id_column", columns.id, header)
        if isinstance(columns.text, int):
            records = chain([first], records)
        for number, (line, record) in enumerate(records):
            if number < start:
                continue
            if len(record) != width:
                yield Row(number, line, reason=WRONG_FIELDS)
                continue
            yield scorable(number, line, None if id_at is None else as_utf8(record[id_at]), record[text_at])


class _Number(str):
    """A number as JSON writes it: ids may be numbers, texts may not."""


_JSON = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def _json_records(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yields (line, object) of each line that is not blank; None where the line is no JSON object."""
    with _opened(file) as source:
        for line, written in enumerate(_lines(source, file.name), start=1):
            if not written.strip():
                continue
            try:
                record = _JSON.decode(written.strip())
            except (ValueError, RecursionError):
                record = None
            yield line, record if isinstance(record, dict) else None


def json_rows(file: InputFile, columns: Columns, start: int) -> Iterator[Row]:
    """Yields the rows from number `start` on; MessagesError if a line is too long."""
    for number, (line, record) in enumerate(_json_records(file)):
        if number >= start:
            yield _json_row(number, line, record, columns)


def _json_row(number: int, line: int, record: dict[str, Any] | None, columns: Columns) -> Row:
    if record is None:
        return Row(number, line, reason=NOT_JSON)
    given = None if columns.id is None else record.get(str(columns.id))
    given = None if given is None else as_utf8(given if isinstance(given, str) else json.dumps(given))
    if columns.text not in record:
        return Row(number, line, given, reason=NO_FIELD)
    text = record[columns.text]
    if text is None:
        return Row(number, line, given, reason=NULL)
    if not isinstance(text, str) or isinstance(text, _Number):
        return Row(number, line, given, reason=NOT_TEXT)
    return scorable(number, line, given, text)


def check_json_columns(file: InputFile, columns: Columns) -> None:
    """Raises MessagesError if no object among the first lines has the columns; null ones may be missing."""
    names = column_names(file.name, columns)
    seen: dict[str, None] = {}
    looked = 0
    for _, record in islice(_json_records(file), LOOKED_AT):
        looked += 1
        seen.update(dict.fromkeys(map(as_utf8, record or {})))
    if looked and not seen:
        raise MessagesError(
            f"{file.name} has no JSON object in its first lines: every line must look like"
            f' {{"{columns.text}": …}}, or say what else the file is with --format'
        )
    for flag, column in names.items() if looked else ():
        require_column(file.name, flag, column, list(seen))
