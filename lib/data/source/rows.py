"""What every reader of a source gives: what the source is, and its rows in batches.

    source = open_source(file, how, columns)      see `lib.data.source.reader`
    source.form                                   kind, encoding, separator, quoting, header, columns
    for batch in source.batches(columns): ...     a few thousand rows at a time, so memory does not grow with the file

Rows are numbered from 0, without a header and blank lines. Lines are numbered from 1, as in editors. Every row that a
file has is in some batch: one that cannot be read stands there with the reason, so rows in = rows used + rows named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from lib.data.source.columns import Column
from lib.errors import MessagesError

Options = Mapping[str, str]  # what errors call an option: `quoting` is data.quoting in a recipe
Kind = Literal["tsv", "csv", "jsonl", "parquet", "excel"]
Quoting = Literal["none", "csv", "backslash"]

# Why a row cannot be read.
WRONG_FIELDS, NOT_DECODED, NOT_JSON, NO_FIELD = (
    "wrong number of fields",
    "not UTF-8",
    "not a JSON object",
    "no such field",
)

BATCH_ROWS = 8192
BATCH_CHARACTERS = 4 * 2**20  # about, where rows are long


@dataclass(frozen=True)
class Encoding:
    """How bytes are characters.

    name: as Python knows it.
    how: told by the recipe, by a byte order mark, by the bytes being that encoding and no other (`contents`), or
        `detected` as the likeliest of several.
    confidence: from 0 to 1; below 1 only where it was detected.
    damage: says which byte cannot be decoded; None if all can. Such bytes are read as lone surrogates, by which the
        rows with them are known.
    """

    name: str
    how: Literal["given", "byte order mark", "contents", "detected"]
    confidence: float = 1.0
    damage: str | None = None

    def __str__(self) -> str:
        return f"{self.name}, {self.how}" + (f", {self.confidence:.2g}" if self.how == "detected" else "")


@dataclass(frozen=True)
class Form:
    """What a source is, as far as its kind has such a thing.

    columns: the names of a header row, of a table's columns, or of the fields of the first JSON object (nested ones as
        `outer.inner`); positions where there is no header row.
    quoting: csv: double quotes may enclose a field, doubled ones stand for one; backslash: the same, and \\" stands for
        one; none: quotes are ordinary characters.
    layout: how JSON is arranged, or which sheet of a workbook it is.
    """

    kind: Kind
    columns: tuple[Column, ...] = ()
    encoding: Encoding | None = None
    separator: str | None = None
    quoting: Quoting | None = None
    header: bool | None = None
    layout: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns what applies, for a profile."""
        encoding = None if self.encoding is None else str(self.encoding)
        facts = {
            "format": self.kind,
            "layout": self.layout,
            "encoding": encoding,
            "separator": self.separator,
            "quoting": self.quoting,
            "header": self.header,
            "columns": list(self.columns),
        }
        return {name: fact for name, fact in facts.items() if fact is not None}


class Unreadable(NamedTuple):
    """Why a row cannot be used: `reason` is one of a few, for counting; `sentence` says where, what and what to do."""

    reason: str
    sentence: str


@dataclass(frozen=True)
class Batch:
    """Consecutive rows.

    first: the number of the first one.
    lines: the line on which each begins; None in formats without lines.
    cells: of each column that was asked for, a value a row: text as it is written, None for null, and in JSON, Parquet
        and workbooks also numbers, booleans, lists and so on (see `lib.data.source.cells`).
    unreadable: by offset, the rows that cannot be used. Their cells are None where nothing could be read.
    """

    first: int
    size: int
    cells: Mapping[Column, Sequence[Any]]
    lines: Sequence[int] | None = None
    unreadable: Mapping[int, Unreadable] = field(default_factory=dict)


@dataclass(frozen=True)
class Records:
    """Consecutive rows as whole records (field to value); None where a row cannot be read. The rest as in `Batch`."""

    first: int
    records: Sequence[Any]
    lines: Sequence[int] | None = None
    unreadable: Mapping[int, Unreadable] = field(default_factory=dict)


class Source(Protocol):
    """A source that has been opened: its beginning was read, so that it is known what it is.

    warnings: sentences about what was read so far; complete once all batches were read.
    """

    form: Form
    warnings: list[str]

    def check(self, columns: Mapping[str, Column], texts: Collection[Column]) -> None:
        """Raises MessagesError if a column is missing, or one of `texts` cannot hold text."""

    def batches(self, columns: Mapping[str, Column], *, start: int = 0) -> Iterator[Batch]:
        """Yields the rows from number `start` on, with the cells of some columns, by the option that sets each.

        Raises MessagesError if there is no such column, and where the rest of the file cannot be read.
        """

    def records(self, *, start: int = 0) -> Iterator[Records]:
        """Yields the rows from number `start` on with all that they have."""


def place(name: str, number: int, line: int | None) -> str:
    """Says where a row is: the line where a format has lines, otherwise its number."""
    return f"{name}, row {number}" if line is None else f"{name}, line {line}"


def refuse_unreadable(batch: Batch | Records) -> None:
    """Raises MessagesError for the first row that cannot be used."""
    if batch.unreadable:
        raise MessagesError(batch.unreadable[min(batch.unreadable)].sentence)
