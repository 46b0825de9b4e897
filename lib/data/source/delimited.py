"""Reads TSV, CSV and the like. Nothing is guessed about values: "NA", "007" and "1e5" are text, and spaces at the ends
are kept."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter

from lib.data.source.columns import Column, column_position
from lib.data.source.data_file import DataFile
from lib.data.source.dialect import Dialect
from lib.data.source.encoding import SURROGATE, opened_text
from lib.data.source.rows import (
    BATCH_CHARACTERS,
    BATCH_ROWS,
    WRONG_FIELDS,
    Batch,
    Encoding,
    Form,
    Options,
    Records,
    Unreadable,
)
from lib.errors import MessagesError

HEADER_AGAIN = "the header again"
FIRST_ROWS = 64  # of the first batch, from which the number of rows for the others is told
END = "\0end of the file\0"  # stands behind the last line: a quote that nothing closes swallows it
LINE_END = re.compile(r"\r\n|\r|\n")
# What columns are called where somebody gave them names, in files that are said to have none.
HEADER_WORDS = {
    *("text", "label", "labels", "class", "category", "target", "sentiment", "message", "sms", "sentence"),
    *("review", "content", "body", "comment", "title", "description", "id", "index", "v1", "v2"),
}

Chunk = tuple[Sequence[int], list[list[str]]]  # the line of each record, and the records; none of them blank


class Delimited:
    """An opened file of lines with fields.

    header: whether its first row has the names of the columns. options: what errors call an option.
    """

    def __init__(self, file: DataFile, encoding: Encoding, dialect: Dialect, *, header: bool, options: Options) -> None:
        self.warnings: list[str] = [] if dialect.doubt is None else [dialect.doubt]
        self._file, self._encoding, self._dialect, self._options = file, encoding, dialect, options
        self._first: list[str] = next((rows[0] for _, rows in self._chunks(FIRST_ROWS)), [])
        unnamed_header = not header and _is_header(self._first)
        if unnamed_header:
            self.warnings.append(
                f"{file.name}: the first line ({', '.join(map(repr, self._first))}) has names of columns, so it is not"
                " read as a row"
            )
        self._passed = int(header or unnamed_header)  # records before the first row
        self.form = Form(
            kind="tsv" if dialect.separator == "\t" else "csv",
            columns=tuple(self._first) if header else tuple(range(len(self._first))),
            encoding=encoding,
            separator=dialect.separator,
            quoting=dialect.quoting,
            header=header or unnamed_header,
        )

    def check(self, columns: Mapping[str, Column], texts: Collection[Column]) -> None:  # noqa: ARG002 - all hold text
        """Raises MessagesError if a column is missing."""
        if self._first:
            self._positions(columns)

    def _positions(self, columns: Mapping[str, Column]) -> dict[Column, int]:
        shown = [SURROGATE.sub("�", name) for name in self._first]
        return {column: column_position(self._file.name, flag, column, shown) for flag, column in columns.items()}

    def batches(self, columns: Mapping[str, Column], *, start: int = 0) -> Iterator[Batch]:
        """Yields the rows from number `start` on, with the cells of these columns."""
        if not self._first:
            return
        at = self._positions(columns)
        for number, lines, rows in self._rows(start):
            unreadable = self._unreadable(number, lines, rows)
            cells = {column: _column(rows, position, unreadable) for column, position in at.items()}
            yield Batch(number, len(rows), cells, lines, unreadable)

    def records(self, *, start: int = 0) -> Iterator[Records]:
        """Yields the rows from number `start` on, as dictionaries of all columns."""
        for number, lines, rows in self._rows(start):
            unreadable = self._unreadable(number, lines, rows)
            records = [
                None if offset in unreadable else dict(zip(self.form.columns, row, strict=True))
                for offset, row in enumerate(rows)
            ]
            yield Records(number, records, lines, unreadable)

    def _rows(self, start: int) -> Iterator[tuple[int, Sequence[int], list[list[str]]]]:
        """Yields number of the first row, lines, and rows; counts what stands in columns without a name."""
        number = -self._passed
        nameless = _Nameless(self._first) if self._passed else None
        for lines, rows in self._chunks(BATCH_ROWS):
            skipped = max(0, start - number) if number >= 0 else start - number
            if skipped < len(rows):
                if nameless is not None:
                    nameless.count(lines[skipped:], rows[skipped:])
                yield number + skipped, lines[skipped:], rows[skipped:]
            number += len(rows)
        if nameless is not None and nameless.rows:
            self.warnings.append(nameless.sentence(self._file.name))

    def _chunks(self, most: int) -> Iterator[Chunk]:
        """Yields records in chunks of at most `most`, fewer where they are long. Raises MessagesError for a quote that
        is never closed and a field that is too long, after the records before it."""
        csv.field_size_limit(self._file.longest)  # global to the process; every reader sets its own
        with opened_text(self._file, self._encoding) as source:
            records = self._dialect.records(chain(source, [END]))
            line, size = 1, min(FIRST_ROWS, most)
            while True:
                chunk: list[list[str]] = []
                failure: csv.Error | None = None
                try:
                    chunk.extend(islice(records, size))
                except csv.Error as error:
                    failure = error
                lines = _lines(chunk, line, records.line_num if failure is None else -1)
                if chunk == [[END]] or not (chunk or failure):
                    return
                begun, line = line, records.line_num + 1
                unclosed = lines[-1] if chunk and chunk[-1] and chunk[-1][-1].endswith(END) else None
                if unclosed is not None:
                    if chunk.pop() == [END]:
                        unclosed = None
                    lines = lines[:-1]
                failed_at = lines[-1] + _height(chunk[-1]) if chunk else begun
                if [] in chunk:
                    lines = [at for at, record in zip(lines, chunk, strict=True) if record]
                    chunk = [record for record in chunk if record]
                if chunk:
                    yield lines, chunk
                self._refuse(unclosed, failed_at, failure)
                characters = sum(map(len, chain.from_iterable(chunk)))
                size = max(1, min(most, BATCH_CHARACTERS * len(chunk) // max(characters, 1)))

    def _refuse(self, unclosed: int | None, failed_at: int, failure: csv.Error | None) -> None:
        """Raises MessagesError if the file cannot be read any further."""
        unquoted = f"make quotes part of the text with {self._options['quoting']} none"
        if unclosed is not None:
            raise MessagesError(
                f"{self._file.name}, line {unclosed}: a double quote opens a field and none closes it;"
                f" close it, or {unquoted}"
            )
        if failure is not None:
            raise MessagesError(
                f"{self._file.name}, line {failed_at}: a field cannot be read ({failure}): see whether a double quote"
                f" there is closed, or {unquoted}"
            ) from failure

    def _unreadable(self, number: int, lines: Sequence[int], rows: list[list[str]]) -> dict[int, Unreadable]:
        """Returns why some rows cannot be used: another number of fields than the first line, or the header again."""
        width = len(self._first)
        found = {}
        if set(map(len, rows)) - {width}:
            found = {
                offset: Unreadable(WRONG_FIELDS, self._wrong_fields(lines[offset], number + offset, row))
                for offset, row in enumerate(rows)
                if len(row) != width
            }
        if self._passed and self._first in rows:
            for offset, row in enumerate(rows):
                if row == self._first:
                    sentence = (
                        f"{self._file.name}, line {lines[offset]} (row {number + offset}) is the header again, as where"
                        f" files were joined: remove it, or leave it out with {self._options['bad_rows']} drop"
                    )
                    found[offset] = Unreadable(HEADER_AGAIN, sentence)
        return found

    def _wrong_fields(self, line: int, number: int, row: list[str]) -> str:
        behind = row[len(self._first) :]
        empty = " (those behind them are empty: a separator too many)" if behind and not any(behind) else ""
        return (
            f"{self._file.name}, line {line} (row {number}) has {len(row)} fields where the first line has"
            f" {len(self._first)}{empty}: correct it, or see whether {self._options['format']} and"
            f" {self._options['quoting']} fit the file"
        )


class _Nameless:
    """Counts the rows with something in a column that has no name. One at the beginning is the index of a table, as
    pandas writes it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._at = [position for position, name in enumerate(names) if position and not name.strip()]
        self._first: int | None = None
        self.rows = 0

    def count(self, lines: Sequence[int], rows: list[list[str]]) -> None:
        """Counts some rows more."""
        if not self._at:
            return
        for line, row in zip(lines, rows, strict=True):
            if any(row[position].strip() for position in self._at if position < len(row)):
                self._first = self._first or line
                self.rows += 1

    def sentence(self, name: str) -> str:
        """Says what was counted."""
        return (
            f"{name}: {self.rows:,} row{'s have' if self.rows != 1 else ' has'} something in a column without a name"
            f" (first: line {self._first}), which is not read: see whether texts with separators in them run over"
        )


def _is_header(first: Sequence[str]) -> bool:
    """Whether the first row of a file that is read by positions has names: 0, 1, … as pandas writes for columns without
    names, or words that columns are called."""
    numbers = first[1:] if first and not first[0] else first  # pandas' index has no name
    if numbers and list(numbers) == [str(number) for number in range(len(numbers))]:
        return True
    return len(first) > 1 and all(name.strip().casefold() in HEADER_WORDS for name in first)


def _lines(chunk: list[list[str]], line: int, read: int) -> Sequence[int]:
    """Returns the line on which each record begins, the first on `line`; `read`: lines that were read with the last."""
    if read - line + 1 == len(chunk):
        return range(line, line + len(chunk))
    lines = []
    for record in chunk:
        lines.append(line)
        line += _height(record)
    return lines


def _height(record: list[str]) -> int:
    """Returns how many lines a record has."""
    return 1 + sum(len(LINE_END.findall(field)) for field in record)


def _column(rows: list[list[str]], position: int, unreadable: Mapping[int, Unreadable]) -> list[str | None]:
    if not unreadable:
        return list(map(itemgetter(position), rows))
    return [None if offset in unreadable else row[position] for offset, row in enumerate(rows)]
