"""Finds out how lines are divided into fields: the separator, and whether double quotes enclose fields.

What fits is measured on the file. Quotes that enclose fields close right before a separator or a line end; others, as
at the beginning of a message, would swallow all line ends up to the next one.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lib.data.source.columns import Column
from lib.data.source.data_file import LONGEST_LINE, DataFile
from lib.data.source.encoding import opened_text
from lib.data.source.rows import Encoding, Quoting

SEPARATORS = {"tsv": ("\t",), "csv": (",", ";", "|")}
SAMPLE = 1 << 18  # characters at the beginning that decide about the separator
SURE_BY_CHANCE = 10  # lines with as many commas as the others have, by chance, is what is not believed
BACKSLASHED = re.compile(r"\\([\\\"])")


@dataclass(frozen=True)
class Dialect:
    """How lines are divided. `doubt`: a sentence where another quoting fits better than the one that was given."""

    separator: str
    quoting: Quoting
    doubt: str | None = None

    def records(self, lines: Iterable[str], *, strict: bool = False) -> Any:
        """Returns csv's reader: lists of fields, with the number of lines read so far as `line_num`."""
        if self.quoting == "backslash":
            lines = map(_doubled, lines)
        if self.quoting == "none":
            return csv.reader(lines, delimiter=self.separator, quoting=csv.QUOTE_NONE, strict=strict)
        return csv.reader(lines, delimiter=self.separator, strict=strict)


def _doubled(line: str) -> str:
    return BACKSLASHED.sub(lambda escaped: '""' if escaped[1] == '"' else "\\", line)


def find_dialect(
    file: DataFile,
    encoding: Encoding,
    *,
    separators: Sequence[str],
    quoting: Quoting | None,
    columns: Sequence[Column],
    option: str,
) -> Dialect | None:
    """Finds out the separator, one of `separators`, and the quoting where it is not given.

    columns: those that are asked for; their names should be in the header row. option: that for quoting, for warnings.

    Returns None if nothing in the file tells the separator: every line is one field.
    """
    with opened_text(file, encoding) as source:
        sample = source.read(SAMPLE)
        cut = len(sample) == SAMPLE
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if cut and len(lines) > 1 else lines
    quotings: Sequence[Quoting] = ("csv", "none") if quoting is None else (quoting,)
    tried = [_tried(lines, Dialect(separator, one), columns) for separator in separators for one in quotings]
    best = max(tried, key=lambda trial: trial.rank)
    if best.width < 2 and len(separators) > 1:
        return None
    return _with_quoting(file, encoding, best.dialect.separator, quoting, option)


@dataclass(frozen=True)
class _Trial:
    """How well a dialect fits the beginning of a file."""

    dialect: Dialect
    width: int  # fields of the first record
    rank: tuple[bool, float, int]


def _tried(lines: Sequence[str], dialect: Dialect, columns: Sequence[Column]) -> _Trial:
    records = [record for record in _readable(dialect.records(lines)) if record]
    if not records:
        return _Trial(dialect, 0, (False, 0.0, 0))
    first = records[0]
    share = sum(len(record) == len(first) for record in records) / len(records) if len(first) > 1 else 0.0
    names = [column for column in columns if isinstance(column, str)]
    positions = [column for column in columns if isinstance(column, int)]
    found = all(name in first for name in names) and all(position < len(first) for position in positions)
    at = [first.index(column) if isinstance(column, str) else column for column in columns] if found else []
    # Of labels there are few; between two separators that divide all rows alike this tells.
    kinds = min((len({record[column] for record in records if column < len(record)}) for column in at), default=0)
    return _Trial(dialect, len(first), (found, round(share, 2), -kinds))


def _readable(records: Iterator[list[str]]) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_LINE)  # global to the process; every reader sets its own
    try:
        yield from records
    except csv.Error:
        return


@dataclass(frozen=True)
class _Fit:
    """How a dialect divides a whole file. misfits: rows with another number of fields than most have; broken: the line
    before which a quote stands where none may."""

    rows: int
    misfits: int
    broken: int | None

    def is_perfect(self) -> bool:
        return self.broken is None and self.misfits == 0


def _with_quoting(file: DataFile, encoding: Encoding, separator: str, given: Quoting | None, option: str) -> Dialect:
    """Returns the dialect with the quoting that fits the whole file, or the given one with a doubt."""
    chosen = Dialect(separator, given or "csv")
    if given in ("none", "backslash") or not _has_quotes(file, encoding):
        return chosen
    csv_fit, plain = (_fit(file, encoding, Dialect(separator, quoting)) for quoting in ("csv", "none"))
    if csv_fit.is_perfect() and not _swallows(csv_fit, plain, separator):
        return chosen
    if plain.is_perfect():
        if given is None:
            return Dialect(separator, "none")
        lenient = _fit(file, encoding, chosen, strict=False)
        if lenient.rows == plain.rows and csv_fit.broken is None:
            return chosen
        return Dialect(
            separator,
            given,
            f"{file.name} has {lenient.rows:,} rows with {option} {given} and {plain.rows:,} with {option} none, by"
            " which every line has the same number of fields: double quotes at the beginning of texts may swallow line"
            " ends and quotes",
        )
    if csv_fit.broken is not None and given is None:
        backslash = _fit(file, encoding, Dialect(separator, "backslash"))
        if backslash.broken is None and backslash.misfits <= plain.misfits:
            return Dialect(separator, "backslash")
    return chosen


def _swallows(csv_fit: _Fit, plain: _Fit, separator: str) -> bool:
    """Whether quotes that open and close in right places may yet be those of different rows: without quoting each line
    is a row like all others, which lines inside of quoted texts would hardly be."""
    swallowed = plain.rows - csv_fit.rows
    return plain.is_perfect() and swallowed >= (SURE_BY_CHANCE if separator == "," else 1)


def _has_quotes(file: DataFile, encoding: Encoding) -> bool:
    with opened_text(file, encoding) as source:
        return any('"' in block for block in iter(lambda: source.read(SAMPLE), ""))


def _fit(file: DataFile, encoding: Encoding, dialect: Dialect, *, strict: bool = True) -> _Fit:
    csv.field_size_limit(LONGEST_LINE)
    widths: Counter[int] = Counter()
    with opened_text(file, encoding) as source:
        records = dialect.records(source, strict=strict)
        broken = None
        try:
            while chunk := list(islice(records, 1024)):
                widths.update(map(len, chunk))
        except csv.Error:
            broken = records.line_num
    del widths[0]  # blank lines
    rows = widths.total()
    return _Fit(rows, rows - max(widths.values(), default=0), broken)


def separators_of(format: str | None, *, first: str | None) -> tuple[str, ...]:
    """Returns the separators to try: those of the format, or all, beginning with those of the format `first`."""
    if format is not None:
        return SEPARATORS[format]
    tabs, others = SEPARATORS["tsv"], SEPARATORS["csv"]
    return tabs + others if first == "tsv" else others + tabs
