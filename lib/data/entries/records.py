"""Reads a file as records, by the reader that all sources have: JSON in any arrangement, Parquet, tables, workbooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lib.data.source.data_file import DataFile
from lib.data.source.reader import How, open_source, read, readable
from lib.data.source.rows import NOT_JSON
from lib.errors import MessagesError

BY_LINES = ("lines", "objects")  # layouts of JSON in which a line finds an entry; a list may be all on one


class Record(NamedTuple):
    """A row of the file.

    value: its fields; None if it cannot be read. where: what errors call it, without the file's name.
    unreadable: the reason and a sentence, if it cannot be read.
    """

    row: int
    line: int | None
    where: str
    value: dict[str, Any] | None
    unreadable: tuple[str, str] | None = None


@dataclass(frozen=True)
class File:
    """The records of a file. read_as: JSON-able, what the file is; warnings: sentences about it."""

    records: list[Record]
    read_as: dict[str, Any]
    warnings: list[str]


def read_file(file: DataFile, how: How) -> File:
    """Reads all records of a file. Raises MessagesError if it is empty, or cannot be read any further."""
    with readable(file, how):
        first = file.head(1 << 10).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not first:
        raise MessagesError(f"{file.name} is empty: is it the right file?")
    if how.format is None and first[:1] in (b"[", b"{"):
        how = replace(how, format="jsonl")  # also where nothing is in the list
    source = open_source(file, how, {})
    by_lines = source.form.layout in BY_LINES or source.form.separator is not None

    def records() -> Iterator[Record]:
        for batch in read(file, how, source.records()):
            for offset, value in enumerate(batch.records):
                row, line = batch.first + offset, batch.lines[offset] if batch.lines else None
                where = f"entry {row + 1} ({f'line {line}' if by_lines and line else 'counted from 1'})"
                wrong = batch.unreadable.get(offset)
                if wrong is not None and wrong.reason == NOT_JSON and not by_lines:
                    sentence = f"{file.name}, {where} is not a JSON object: every entry must look like {how.looks}"
                    wrong = wrong._replace(sentence=sentence)
                yield Record(row, line, where, value, wrong)

    return File(list(records()), source.form.as_json(), source.warnings)
