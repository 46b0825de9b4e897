"""Reads JSON: one object a line, objects one after the other however they are laid out, one list of them, or one object
that has them all (`lib.data.source.json_shapes`). Numbers are kept as they are written."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple, TextIO

from lib.data.source.cells import Number
from lib.data.source.columns import ABSENT, Column, field_names, named_columns, no_column, require_column, value_at
from lib.data.source.data_file import DataFile
from lib.data.source.encoding import opened_text
from lib.data.source.json_shapes import ONE_RECORD, unfolded
from lib.data.source.rows import (
    BATCH_CHARACTERS,
    BATCH_ROWS,
    NO_FIELD,
    NOT_JSON,
    Batch,
    Encoding,
    Form,
    Options,
    Records,
    Unreadable,
    place,
)
from lib.errors import MessagesError

Layout = Literal["lines", "list", "objects", "one object"]

LOOKED_AT = 100  # records whose fields are looked at for the columns, and lines that tell the layout
WINDOW = 1 << 20  # characters of a list or of objects in memory at once; more where one is longer
LONGEST_VALUE = 1 << 28  # characters of one
SPACE = re.compile(r"[ \t\n\r]*")

DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=lambda _: None)


class _Found(NamedTuple):
    """A value in the file."""

    line: int | None
    value: Any
    characters: int
    problem: str | None = None  # why it is none


class JsonRecords:
    """An opened JSON file. options: what errors call an option; looks: what a record should look like."""

    def __init__(self, file: DataFile, encoding: Encoding, *, options: Options, looks: str) -> None:
        self.warnings: list[str] = []
        self._file, self._encoding, self._options, self._looks = file, encoding, options, looks
        self._layout, layout = _layout(file, encoding), None
        self._whole: list[Any] = []
        if self._layout == "one object":
            layout, self._whole = _whole(file, encoding)
            if layout == ONE_RECORD:
                self._layout, layout = "objects", None
        looked_at = list(islice(self._found(), LOOKED_AT))
        self._is_empty = not looked_at
        names = [name for found in looked_at if isinstance(found.value, Mapping) for name in field_names(found.value)]
        columns = tuple(dict.fromkeys(names))
        self.form = Form(kind="jsonl", columns=columns, encoding=encoding, layout=layout or self._layout)

    def batches(self, columns: Mapping[str, Column], *, start: int = 0) -> Iterator[Batch]:
        """Yields the rows from number `start` on, with the cells of these columns. A cell is ABSENT where the record
        lacks the field, and the row unreadable."""
        flags = {column: flag for flag, column in named_columns(self._file.name, columns).items()}
        for batch in self.records(start=start):
            unreadable = dict(batch.unreadable)
            cells: dict[Column, list[Any]] = {column: [] for column in flags}
            for offset, record in enumerate(batch.records):
                for column, flag in flags.items():
                    cell = None if record is None else value_at(record, column)
                    cells[column].append(cell)
                    if cell is ABSENT and offset not in unreadable:
                        sentence = no_column(self._place(batch, offset), flag, column, field_names(record))
                        unreadable[offset] = Unreadable(NO_FIELD, sentence)
            yield Batch(batch.first, len(batch.records), cells, batch.lines, unreadable)

    def check(self, columns: Mapping[str, Column], texts: Collection[Column]) -> None:  # noqa: ARG002 - of any type
        """Raises MessagesError if none of the first objects has a column; some may lack it."""
        names = named_columns(self._file.name, columns)
        if self._is_empty:
            return
        known = [str(name) for name in self.form.columns]
        if not known:
            looks = ", ".join(f'"{column}": …' for column in dict.fromkeys(names.values()))
            raise MessagesError(
                f"{self._file.name} has no JSON object in its first lines: every line must look like"
                f" {{{looks}}}, or say what else the file is with {self._options['format']}"
            )
        for flag, column in names.items():
            if not any(name == column or name.startswith(f"{column}.") for name in known):
                require_column(self._file.name, flag, column, known)

    def records(self, *, start: int = 0) -> Iterator[Records]:
        """Yields the rows from number `start` on as objects; None where something else stands."""
        values = islice(self._found(), start, None)
        while chunk := _chunk(values):
            lines = None if chunk[0].line is None else [found.line or 0 for found in chunk]
            batch = Records(start, [found.value for found in chunk], lines, {})
            unreadable = {
                offset: Unreadable(NOT_JSON, found.problem or self._no_object(batch, offset))
                for offset, found in enumerate(chunk)
                if not isinstance(found.value, dict)
            }
            records = [None if offset in unreadable else record for offset, record in enumerate(batch.records)]
            yield Records(start, records if unreadable else batch.records, lines, unreadable)
            start += len(chunk)

    def _place(self, batch: Records, offset: int) -> str:
        return place(self._file.name, batch.first + offset, batch.lines[offset] if batch.lines else None)

    def _no_object(self, batch: Records, offset: int) -> str:
        every = "every line" if self._layout == "lines" else "every entry"
        return f"{self._place(batch, offset)} is not a JSON object: {every} must look like {self._looks}"

    def _found(self) -> Iterator[_Found]:
        if self._layout == "one object":
            yield from (_Found(None, record, 0) for record in self._whole)
            return
        with opened_text(self._file, self._encoding) as source:
            if self._layout == "lines":
                yield from _lines(source, self._file.name)
            else:
                for found in _Window(source, self._file.name).values(listed=self._layout == "list"):
                    yield from _inner(found)


def _inner(found: _Found) -> Iterator[_Found]:
    """Yields the records of a list inside a list; anything else as it is."""
    inside = found.value
    if isinstance(inside, list) and inside and all(isinstance(record, Mapping) for record in inside):
        yield from (found._replace(value=record) for record in inside)
    else:
        yield found


def _chunk(values: Iterator[_Found]) -> list[_Found]:
    """Takes values that fit into memory."""
    chunk, characters = [], 0
    for found in islice(values, BATCH_ROWS):
        chunk.append(found)
        characters += found.characters
        if characters > BATCH_CHARACTERS:
            break
    return chunk


def _layout(file: DataFile, encoding: Encoding) -> Layout:
    """Finds out how a file's objects are arranged."""
    with opened_text(file, encoding) as source:
        lines = [line for line in islice(source, LOOKED_AT) if line.strip()]
        more = bool(source.read(1))
    first = lines[0].strip() if lines else ""
    if first.startswith("["):
        return "list"
    if not first.startswith("{"):
        return "lines"
    try:
        _, end = DECODER.raw_decode(first)
        if first[end:].lstrip().startswith("{"):
            return "objects"
        return "lines" if len(lines) > 1 or more or first[end:].strip() else "one object"
    except (ValueError, RecursionError):
        pass
    if first.endswith(("}", "},")) or any(line.startswith("{") and _is_value(line) for line in lines[1:]):
        return "lines"  # of which the first is not JSON
    with opened_text(file, encoding) as source:
        values = _Window(source, file.name).values(listed=False)
        next(values, None)
        return "objects" if next(values, None) is not None else "one object"


def _is_value(line: str) -> bool:
    try:
        DECODER.decode(line.strip())
    except (ValueError, RecursionError):
        return False
    return True


def _whole(file: DataFile, encoding: Encoding) -> tuple[str, list[Any]]:
    with opened_text(file, encoding) as source:
        (found,) = _Window(source, file.name).values(listed=False)
    return unfolded(found.value, file.name)


def _lines(source: TextIO, name: str) -> Iterator[_Found]:
    for number, line in enumerate(source, start=1):
        written = line.strip()
        if not written:
            continue
        try:
            yield _Found(number, DECODER.decode(written), len(line))
        except (ValueError, RecursionError) as error:
            yield _Found(number, None, len(line), f"{name}, line {number} {_what_is_wrong(written, error)}")


def _what_is_wrong(written: str, error: Exception) -> str:
    """Says what a line is that is not JSON."""
    if written.endswith(",") and _is_value(written[:-1]):
        return "ends with a comma, as inside a list: remove the commas at the ends of lines, or put [ before the first"
    try:
        if isinstance(ast.literal_eval(written), dict):
            return (
                "is written as Python shows a dictionary, and not as JSON: write the file with json.dumps(record) in"
                " place of str(record)"
            )
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        pass
    return f"is not JSON ({error}): correct the line or remove it"


class _Window:
    """A window that moves over a text of JSON values."""

    def __init__(self, source: TextIO, name: str) -> None:
        self._source, self._name = source, name
        self._text, self._at, self._ended = "", 0, False
        self._line, self._counted = 1, 0  # the line of a position up to which line ends are counted

    def values(self, *, listed: bool) -> Iterator[_Found]:
        """Yields the values one after the other, or those of one list. Raises MessagesError for what is not JSON."""
        if listed and self._next() == "[":
            self._at += 1
        while (character := self._next()) and not (listed and character == "]"):
            if listed and character == ",":
                self._at += 1
                continue
            line, before = self._line_at(self._at), self._at
            yield _Found(line, self._value(line), self._at - before)
        if listed and not character:
            raise self._broken(self._line_at(self._at), "the list is never closed")
        self._at += listed
        if listed and self._next():
            raise self._broken(self._line_at(self._at), "something stands behind the end of the list")

    def _next(self) -> str:
        """Returns the next character that is no space, without passing it; "" at the end."""
        while True:
            self._at = SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it always matches
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def _value(self, line: int) -> Any:
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
                # What is behind a number may belong to it.
                if end == len(self._text) and not self._ended and self._fill():
                    continue
            except json.JSONDecodeError as error:
                broken_at = line + self._text.count("\n", self._at, error.pos)
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - len("\\ud83d")
                if not cut or self._ended or not self._fill():
                    raise self._broken(broken_at, error.msg) from error
            except RecursionError as error:
                raise self._broken(line, str(error)) from error
            else:
                self._at = end
                return value

    def _fill(self) -> bool:
        """Reads on, at least as much as is in the window; returns whether there was anything."""
        self._line_at(self._at)
        rest = self._text[self._at :]
        if len(rest) > LONGEST_VALUE:
            raise self._broken(self._line, f"one value has more than {LONGEST_VALUE:,} characters")
        read = self._source.read(max(WINDOW, len(rest)))
        self._text, self._at, self._counted, self._ended = rest + read, 0, 0, not read
        return bool(read)

    def _line_at(self, position: int) -> int:
        self._line += self._text.count("\n", self._counted, position)
        self._counted = max(position, self._counted)
        return self._line

    def _broken(self, line: int, problem: str) -> MessagesError:
        return MessagesError(f"{self._name}, line {line} is not JSON ({problem}): correct it there")
