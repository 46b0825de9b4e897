"""Reads the rows of a source as the step `messages` does, up to a number of them, and keeps what each one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lib.data.inspection.part import beginning
from lib.data.messages.labels import trimmed
from lib.data.messages.reading import LabelledRows, read_messages
from lib.data.source.columns import Column
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.data.source.rows import Form

ROWS = 50_000  # read
BYTES = 8 * 2**20  # of a text file
COLUMNS = ("row", "line", "text", "label", "reason")


class LeftOut(NamedTuple):
    """A row that is no message: its number (from 0), its line in a format with lines, and the reason."""

    file: str
    row: int
    line: int | None
    reason: str


@dataclass
class Labelled:
    """The rows that were read.

    rows: how many. numbers, texts, labels: of each that is a message its number, its text, and its label without spaces
    around it. empty_texts, empty_labels: how many have none. unreadable: those that cannot be read. is_all: whether
    there are no others. every_label: those of all rows that can be read, as written, in their order.
    """

    form: Form | None = None
    rows: int = 0
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    empty_texts: int = 0
    empty_labels: int = 0
    unreadable: list[LeftOut] = field(default_factory=list)
    every_label: list[str | None] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_all: bool = True


def read_labelled(
    files: Sequence[DataFile], how: How, *, text: Column, label: Column | None, most: int = ROWS, size: int = BYTES
) -> Labelled:
    """Reads at most about `most` rows, and `size` bytes of a file; without a `label` column every label is empty.

    Raises MessagesError as a run does for files that cannot be read.
    """
    found = Labelled()
    for file in files:
        if found.rows >= most:
            found.is_all = False
            break
        _read(found, file, how, text, label, most, size)
    return found


def refuse(file: DataFile, how: How, *, text: Column, label: Column | None) -> None:
    """Raises MessagesError, in the words of a run, for a file without rows or with one that cannot be read."""
    column = text if label is None else label
    for _ in read_messages(file, how, text_column=text, label_column=column, empty_text="drop"):
        pass


def _read(found: Labelled, file: DataFile, how: How, text: Column, label: Column | None, most: int, size: int) -> None:
    part = beginning(file, size)
    rows = LabelledRows(part, how, text_column=text, label_column=text if label is None else label, bad_rows="drop")
    found.form = found.form or rows.form
    begin = found.rows
    found.is_all = found.is_all and part.end is None
    for batch in rows:
        columns = zip(*(batch.column(name).to_pylist() for name in COLUMNS), strict=True)
        for number, line, written, labelled, reason in columns:
            _take(found, LeftOut(file.name, begin + number, line, reason or ""), written, labelled, label is not None)
        if found.rows >= most:
            found.is_all = False  # unless these were the last ones, which is not looked for
            break
    found.warnings += rows.warnings


def _take(found: Labelled, row: LeftOut, text: str | None, label: str | None, is_labelled: bool) -> None:
    found.rows += 1
    if row.reason:
        found.unreadable.append(row)
        return
    found.every_label.append(label)
    tidy = trimmed(label or "") if is_labelled else ""
    no_text = text is None or not text.strip()
    found.empty_texts += no_text
    found.empty_labels += is_labelled and not tidy
    if text is not None and not no_text and bool(tidy) == is_labelled:
        found.numbers.append(row.row)
        found.texts.append(text)
        found.labels.append(tidy)
