"""Reads labelled messages from a source file into a table, and profiles them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.duplicates import normalise
from lib.data.source.cells import Number, as_text
from lib.data.source.columns import ABSENT, Column
from lib.data.source.data_file import DataFile
from lib.data.source.encoding import UNDECODED
from lib.data.source.reader import How, open_source, read
from lib.data.source.rows import NOT_DECODED, Batch, Form, Unreadable, place
from lib.errors import MessagesError

Integers = npt.NDArray[np.int64]

DROPPED = "empty_texts_dropped"
EMPTY_TEXT = "empty text"
NO_TEXT = "neither text, number nor boolean"
CONTROL = r"[\x00-\x08\x0e-\x1f\x7f]"  # no text is written with these

# A row: `line` where the format has lines; text and label as they are written, null where there is none; `reason` why
# the row cannot be used, otherwise null.
ROWS = pa.schema(
    [
        ("row", pa.int64()),
        ("line", pa.int64()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("reason", pa.string()),
    ]
)
KEPT = pa.schema([("id", pa.int64()), ("text", pa.string()), ("label", pa.string())])
LEFT = pa.schema([("row", pa.int64()), ("line", pa.int64()), ("reason", pa.string())])


@dataclass(frozen=True)
class FileOfMessages:
    """What a file has.

    messages: columns id int64, text str, label str, in the order of the file. `id` is the row's number in it, from 0
    over the rows with data, those that are left out included.
    left_out: the schema `LEFT`: of each row that is no message its number, line and the reason.
    form: what the file is. warnings: sentences.
    """

    messages: pd.DataFrame
    left_out: pa.Table
    form: Form
    warnings: list[str]

    @property
    def rows(self) -> int:
        """All rows of the file."""
        return len(self.messages) + len(self.left_out)


class LabelledRows:
    """The rows of a file with their texts and labels, in batches with the schema `ROWS`.

    form: what the file is. warnings: sentences, complete once all batches were taken.
    """

    def __init__(
        self, file: DataFile, how: How, *, text_column: Column, label_column: Column, bad_rows: Literal["error", "drop"]
    ) -> None:
        self._file, self._how, self._bad_rows = file, replace(how, damaged_rows=bad_rows == "drop"), bad_rows
        self._text, self._label = text_column, label_column
        self._columns = {"--data.text_column": text_column, "--data.label_column": label_column}
        self._source = open_source(file, self._how, self._columns)
        self._control, self._types = 0, Counter[str]()
        self.form = self._source.form

    @property
    def warnings(self) -> list[str]:
        """Sentences about what was read so far."""
        found = list(self._source.warnings)
        if self._control:
            found.append(
                f"{self._file.name}: {self._control:,} text{'s have' if self._control != 1 else ' has'} control"
                " characters, such as NUL, which are kept"
            )
        if len(self._types) > 1:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._types.most_common())
            found.append(
                f"{self._file.name}: column {self._label!r} holds {kinds}; all become text, so the number 1 and the"
                " text '1' are one label"
            )
        return found

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yields the batches; raises MessagesError for a row that cannot be used unless such rows are dropped."""
        for batch in read(self._file, self._how, self._source.batches(self._columns)):
            texts, labels, unreadable = self._as_texts(batch)
            if unreadable and self._bad_rows == "error":
                raise MessagesError(unreadable[min(unreadable)].sentence)
            columns = {
                "row": np.arange(batch.first, batch.first + batch.size),
                "line": [None] * batch.size if batch.lines is None else batch.lines,
                "text": texts,
                "label": labels,
                "reason": [unreadable[at].reason if at in unreadable else None for at in range(batch.size)],
            }
            rows = pa.record_batch([pa.array(columns[each.name], each.type) for each in ROWS], schema=ROWS)
            self._control += pc.sum(pc.match_substring_regex(rows.column("text"), CONTROL)).as_py() or 0
            yield rows

    def _as_texts(self, batch: Batch) -> tuple[list[str | None], list[str | None], dict[int, Unreadable]]:
        """Returns the cells of both columns as texts, and why rows cannot be used, whose texts are None."""
        texts, labels = (list(batch.cells[column]) for column in (self._text, self._label))
        unreadable = dict(batch.unreadable)
        if self.form.encoding is not None and self.form.encoding.damage is None and self.form.separator is not None:
            return texts, labels, unreadable  # each cell is a text, and whole
        self._types.update(_kind(cell) for cell in labels if cell is not None and cell is not ABSENT)
        for column, cells in ((self._text, texts), (self._label, labels)):
            for at, cell in enumerate(cells):
                if at not in unreadable:
                    cells[at] = self._text_of(cell, column, batch, at, unreadable)
        for at in unreadable:
            texts[at] = labels[at] = None
        return texts, labels, unreadable

    def _text_of(
        self, cell: Any, column: Column, batch: Batch, at: int, unreadable: dict[int, Unreadable]
    ) -> str | None:
        """Returns the cell as a text, or None if it is null or its row gets unreadable."""
        if type(cell) is str and cell.isascii():
            return cell
        where = place(self._file.name, batch.first + at, None if batch.lines is None else batch.lines[at])
        if isinstance(cell, str) and UNDECODED.search(cell):
            unreadable[at] = Unreadable(NOT_DECODED, f"{where}: column {column!r} has bytes that are not UTF-8")
            return None
        try:
            return as_text(cell, where, column)
        except MessagesError as error:
            unreadable[at] = Unreadable(NO_TEXT, str(error))
            return None


def _kind(cell: Any) -> str:
    if isinstance(cell, bool):
        return "booleans"
    if isinstance(cell, Number | int | float):
        return "numbers"
    return "texts" if isinstance(cell, str) else "other values"


def read_messages(
    file: DataFile,
    how: How,
    *,
    text_column: Column,
    label_column: Column,
    empty_text: Literal["error", "drop"],
    bad_rows: Literal["error", "drop"] = "error",
) -> FileOfMessages:
    """Reads the messages of a file.

    Labels and texts are kept as written: "NA", "007" and "1e5" are text, and spaces at the ends stay. Numbers and
    booleans of JSON, Parquet and workbooks become text: `1` as written, `true`, `false`.

    Args:
        text_column: a name in the header row, of a field or of a column, or a position (from 0) in a table without a
            header row. `label_column` likewise.
        empty_text: whether an empty, blank or null text is an error or leaves its row out.
        bad_rows: the same for rows that cannot be read.

    Raises MessagesError if the file is damaged or empty, lacks a column, or has an empty label.
    """
    rows = LabelledRows(file, how, text_column=text_column, label_column=label_column, bad_rows=bad_rows)
    kept: list[pa.RecordBatch] = []
    left_out: list[pa.RecordBatch] = []
    blank: list[int] = []
    for batch in rows:
        row, line, text, label, reason = batch.columns
        written = pc.fill_null(text, "")
        empty = pc.and_(pc.is_null(reason), pc.or_(pc.equal(written, ""), pc.utf8_is_space(written)))
        blank += row.filter(empty).to_pylist()
        reason = pc.if_else(empty, EMPTY_TEXT, reason)
        used = pc.is_null(reason)
        kept.append(pa.record_batch([row, text, label], schema=KEPT).filter(used))
        left_out.append(pa.record_batch([row, line, reason], schema=LEFT).filter(pc.invert(used)))

    messages = pa.Table.from_batches(kept, schema=KEPT).to_pandas()
    return _checked(file, rows, messages, pa.Table.from_batches(left_out, schema=LEFT), blank, empty_text)


def _checked(
    file: DataFile,
    rows: LabelledRows,
    messages: pd.DataFrame,
    left_out: pa.Table,
    blank: list[int],
    empty_text: Literal["error", "drop"],
) -> FileOfMessages:
    """Returns what a file has if it has messages, each with a text and a label."""
    name = file.name
    if messages.empty and not len(left_out):
        what = "has no messages, only a header row or blank lines" if file.head(1) else "is empty"
        raise MessagesError(f"{name} {what}: is it the right file?")
    if blank and empty_text == "error":
        raise MessagesError(
            f"{name}: {counted(blank, 'row', 'rows', start=0)} an empty text: fill in, remove, or leave out with"
            " --data.empty_text drop"
        )
    if messages.empty:
        what = (
            "text is empty: is --data.text_column the right one" if blank else "row is unreadable: is it the right file"
        )
        raise MessagesError(f"{name}: every {what}?")
    unlabelled = messages["id"][messages["label"].fillna("").str.strip() == ""].tolist()
    if unlabelled:
        raise MessagesError(f"{name}: {counted(unlabelled, 'row', 'rows', start=0)} an empty label: fill in or remove")
    messages.attrs[DROPPED] = len(blank)
    return FileOfMessages(messages, left_out, rows.form, rows.warnings)


def profile_messages(messages: pd.DataFrame) -> dict[str, Any]:
    """Describes a table of messages, JSON-able.

    rows: messages in the table.
    labels: rows of each label, the most frequent first.
    characters: min, median, p95 and max of a text; total of all.
    duplicate_texts: rows beyond the first of each text.
    near_duplicate_texts: the same, ignoring case, digits, punctuation and space.
    empty_texts_dropped: rows that `read_messages` dropped.
    """
    lengths, hashes, normalised = _measured(messages["text"])
    labels = Counter(messages["label"])
    return {
        "rows": len(messages),
        "labels": {label: labels[label] for label in sorted(labels, key=lambda label: (-labels[label], label))},
        "characters": spread(lengths),
        "duplicate_texts": len(hashes) - len(np.unique(hashes)),
        "near_duplicate_texts": len(normalised) - len(np.unique(normalised)),
        DROPPED: int(messages.attrs.get(DROPPED, 0)),
    }


def _measured(texts: pd.Series) -> tuple[Integers, Integers, Integers]:
    """Returns the length of each text, and hashes of it and of what `normalise` leaves of it: sets of millions of texts
    would not fit into memory."""
    lengths, hashes, normalised = np.empty((3, len(texts)), np.int64)
    for at, text in enumerate(texts):
        lengths[at], hashes[at], normalised[at] = len(text), hash_of(text), hash_of(normalise(text))
    return lengths, hashes, normalised


def hash_of(text: str) -> int:
    """Returns 64 bits that tell texts apart, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def spread(lengths: Sequence[int] | Integers) -> dict[str, int | float]:
    """Returns minimum, median, 95th percentile, maximum and sum of at least one length."""
    return {
        "min": int(np.min(lengths)),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "max": int(np.max(lengths)),
        "total": int(np.sum(lengths)),
    }


def counted(numbers: Sequence[int], one: str, many: str, *, start: int) -> str:
    """Begins an error: "row 3 (counted from 0) has", "2 rows (3, 4; counted from 0) have"."""
    if len(numbers) == 1:
        return f"{one} {numbers[0]} (counted from {start}) has"
    first = ", ".join(map(str, numbers[:3])) + (", …" if len(numbers) > 3 else "")
    return f"{len(numbers)} {many} ({first}; counted from {start}) have"
