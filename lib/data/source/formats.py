"""Parses source files: one reader for each format. Nothing is guessed: "NA", "007" and "1e5" are text, and spaces at
the ends are kept. Rows count from 0, without header and blank lines; lines count from 1, as in editors."""

from __future__ import annotations

import codecs
import csv
import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lib.errors import MessagesError

Column = str | int
TextsAndLabels = tuple[list[str], list[str]]  # one of each for every row

CHUNK = 1 << 20  # bytes
LONGEST_FIELD = 2**31 - 1  # characters; the csv module's default is 131,072
LONGEST_NAME_SHOWN = 40  # characters; the supposed name may be a whole message


def check_utf8(file: Path, name: str) -> None:
    """Reads the file through; raises MessagesError with the position of the first byte that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with file.open("rb") as source:
        while True:
            chunk = source.read(CHUNK)
            read += len(chunk)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # error.object is the kept end of the previous chunk and then this one: it ends at byte `read`.
                position = read - len(error.object) + error.start
                source.seek(0)
                utf16 = source.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
                raise MessagesError(
                    f"{name} is not UTF-8: byte {position} (counted from 0) is"
                    f" 0x{error.object[error.start]:02x}{' (it looks like UTF-16)' if utf16 else ''};"
                    " save the file as UTF-8"
                ) from error
            if not chunk:
                return


class _Lines:
    """The lines of a file, and whether one after the last was requested."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.exhausted = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            return line
        self.exhausted = True
        raise StopIteration


def delimited_records(
    source: Iterable[str], name: str, *, separator: str, quoted: bool, flag: str, longest: int = LONGEST_FIELD
) -> Iterator[tuple[int, list[str]]]:
    """Yields each non-blank record of TSV or CSV with the number of its first line.

    `source`: lines with their ends; `quoted` as in `read_delimited`; `longest`: characters in a field. Raises
    MessagesError during iteration if a quote is never closed (`flag` is the option for quoting) or a field is too long.
    """
    csv.field_size_limit(longest)  # global to the process; every reader sets its own
    lines = _Lines(source)
    records = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    line = 1
    try:
        for record in records:
            if lines.exhausted:
                # A complete record is returned before the next line is requested.
                raise MessagesError(
                    f"{name}, line {line}: a double quote opens a field and none closes it;"
                    f" close it, or make quotes part of the text with {flag} none"
                )
            if record:
                yield line, record
            line = records.line_num + 1
    except csv.Error as error:
        raise MessagesError(
            f"{name}, line {line}: a field cannot be read ({error}): see whether a double quote there is closed, or"
            f" make quotes part of the text with {flag} none"
        ) from error


def read_delimited(
    file: Path, name: str, *, separator: str, text_column: Column, label_column: Column, quoted: bool
) -> TextsAndLabels:
    """Reads TSV and CSV, with a header row if the columns are names, without one if they are positions (from 0).

    quoted: double quotes may enclose a field with separators, line ends and doubled quotes, and are ordinary elsewhere,
    as in `pandas.read_csv`. Otherwise they are always ordinary characters.
    """
    texts: list[str] = []
    labels: list[str] = []
    with file.open(encoding="utf-8-sig", newline="") as source:
        width, text_at, label_at = 0, 0, 0
        records = delimited_records(source, name, separator=separator, quoted=quoted, flag="--data.quoting")
        for line, record in records:
            if not width:
                width = len(record)
                text_at = column_position(name, "--data.text_column", text_column, record)
                label_at = column_position(name, "--data.label_column", label_column, record)
                if isinstance(text_column, str):
                    continue
            if len(record) != width:
                raise MessagesError(
                    f"{name}, line {line} (row {len(texts)}) has {len(record)} fields where the first line has {width}:"
                    " correct it, or see whether --data.format and --data.quoting fit the file"
                )
            texts.append(record[text_at])
            labels.append(record[label_at])
    return texts, labels


def read_jsonl(file: Path, name: str, *, text_column: Column, label_column: Column) -> TextsAndLabels:
    """Reads one JSON object per line. Numbers become text as written; null and NaN become the empty text."""
    columns = _names(name, text_column, label_column)
    pairs: list[list[str]] = []
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda _: None)
    with file.open(encoding="utf-8-sig", newline="\n") as source:
        for number, line in enumerate(source, start=1):
            if not line.strip():
                continue
            where = f"{name}, line {number}"
            try:
                record = decoder.decode(line.strip())
            except (ValueError, RecursionError) as error:
                raise MessagesError(f"{where} is not JSON ({error}): correct the line or remove it") from error
            if not isinstance(record, dict):
                raise MessagesError(
                    f'{where} is not a JSON object: every line must look like {{"text": …, "label": …}}'
                )
            for field, column in columns.items():
                require_column(where, f"--data.{field}", column, list(record))
            pairs.append([_as_text(where, column, record[column]) for column in columns.values()])
    return [text for text, _ in pairs], [label for _, label in pairs]


def read_parquet(file: Path, name: str, *, text_column: Column, label_column: Column) -> TextsAndLabels:
    """Reads two columns of text, numbers or booleans; null and NaN become the empty text."""
    columns = _names(name, text_column, label_column)
    try:
        with pq.ParquetFile(file) as source:
            for field, column in columns.items():
                require_column(name, f"--data.{field}", column, source.schema_arrow.names)
            table = source.read(columns=list(columns.values()))
        values = {column: table.column(column).to_pylist() for column in columns.values()}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise MessagesError(
            f"{name} cannot be read as Parquet ({error}): write it again, or say what else it is with --data.format"
        ) from error
    texts, labels = (
        [_as_text(f"{name}, row {row}", column, value) for row, value in enumerate(values[column])]
        for column in columns.values()
    )
    return texts, labels


def column_position(name: str, flag: str, column: Column, first: Sequence[str]) -> int:
    """Returns the column's position, given the first record: a header, or an ordinary row. `flag` is the option that
    sets the column. Raises MessagesError if there is no such column, or more than one."""
    if isinstance(column, str):
        hint = ", or to a position (0, 1, …) if the file has no header row"
        require_column(name, flag, column, first, hint=hint)
        return first.index(column)
    if not 0 <= column < len(first):
        raise MessagesError(
            f"{name} has {len(first)} column{'s' * (len(first) != 1)}, so {flag} cannot be"
            f" {column}: positions are counted from 0"
        )
    return column


def require_column(where: str, flag: str, column: str, names: Sequence[str], *, hint: str = "") -> None:
    """Raises MessagesError, naming the nearest, unless exactly one column has this name; `flag` is its option."""
    if names.count(column) == 1:
        return
    if column in names:
        raise MessagesError(f"{where} has more than one column {column!r}: rename all but one")
    shortened = (name if len(name) <= LONGEST_NAME_SHOWN else name[: LONGEST_NAME_SHOWN - 1] + "…" for name in names)
    nearest = difflib.get_close_matches(column, names, n=1)
    raise MessagesError(
        f"{where} has no column {column!r}, only {', '.join(map(repr, shortened)) or 'none at all'}:"
        f" set {flag} to one of these{hint}{f'; did you mean {nearest[0]!r}?' if nearest else ''}"
    )


def _names(name: str, text_column: Column, label_column: Column) -> dict[str, str]:
    """Returns recipe field to column name, for formats whose columns always have names."""
    names = {}
    for field, column in {"text_column": text_column, "label_column": label_column}.items():
        if not isinstance(column, str):
            raise MessagesError(f"{name}: the columns of this format have names, so --data.{field} cannot be {column}")
        names[field] = column
    return names


def _as_text(where: str, column: str, value: object) -> str:
    if value is None or value != value:  # NaN is what differs from itself
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise MessagesError(
            f"{where}: column {column!r} holds a {type(value).__name__}: texts and labels must be text,"
            " numbers or booleans"
        )
    return whole_characters(str(value), f"{where}: column {column!r}", whole="row")


def whole_characters(text: str, where: str, *, whole: str) -> str:
    """Returns the text if it can be encoded as UTF-8; `whole` names what it is part of. Raises MessagesError for half a
    surrogate pair, which JSON allows ("\\ud83d")."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MessagesError(
            f"{where} holds half a character (\\u{ord(text[error.start]):04x} without its pair): correct it or remove"
            f" the {whole}"
        ) from error
    return text
