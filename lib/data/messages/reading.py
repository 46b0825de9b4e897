"""Reads labelled messages from a source file, in batches of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.messages.labels import EMPTY_LABEL, trimmed
from lib.data.source.cells import Number, as_text
from lib.data.source.columns import ABSENT, Column
from lib.data.source.data_file import DataFile
from lib.data.source.encoding import UNDECODED
from lib.data.source.reader import How, open_source, read
from lib.data.source.rows import NOT_DECODED, Batch, Unreadable, place
from lib.data.tables import MESSAGES
from lib.errors import MessagesError

EMPTY_TEXT = "empty text"
COLUMN_OF = {EMPTY_TEXT: "text", EMPTY_LABEL: "label"}
NAMED = 3  # rows in a sentence
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
# Of a row, as they are written, where these columns are asked for: its split, and what parts of the messages are made
# by, to measure a classifier on each.
BESIDE = ("split", "slice")


class LabelledRows:
    """The rows of a file with their texts and labels, in batches.

    schema: that of the batches: `ROWS`, and of the columns BESIDE those that are asked for. form: what the file is.
    warnings: sentences, complete once all batches were taken.
    """

    def __init__(
        self,
        file: DataFile,
        how: How,
        *,
        text_column: Column,
        label_column: Column,
        split_column: Column | None = None,
        slice_column: Column | None = None,
        bad_rows: Literal["error", "drop"],
    ) -> None:
        self._file, self._how, self._bad_rows = file, replace(how, damaged_rows=bad_rows == "drop"), bad_rows
        self._of = {"text": text_column, "label": label_column}
        self._columns = {"--data.text_column": text_column, "--data.label_column": label_column}
        self.schema = ROWS
        flags = ("--split.column", "--evaluation.slices")
        for name, flag, column in zip(BESIDE, flags, (split_column, slice_column), strict=True):
            if column is not None:
                self.schema = self.schema.append(pa.field(name, pa.string()))
                self._of[name] = self._columns[flag] = column
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
                f"{self._file.name}: column {self._of['label']!r} holds {kinds}; all become text, so the number 1 and"
                " the text '1' are one label"
            )
        return found

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yields the batches; raises MessagesError for a row that cannot be used unless such rows are dropped."""
        for batch in read(self._file, self._how, self._source.batches(self._columns)):
            texts, unreadable = self._as_texts(batch)
            if unreadable and self._bad_rows == "error":
                raise MessagesError(unreadable[min(unreadable)].sentence)
            columns = {
                "row": np.arange(batch.first, batch.first + batch.size),
                "line": [None] * batch.size if batch.lines is None else batch.lines,
                **texts,
                "reason": [unreadable[at].reason if at in unreadable else None for at in range(batch.size)],
            }
            rows = pa.record_batch(
                [pa.array(columns[each.name], each.type) for each in self.schema], schema=self.schema
            )
            self._control += pc.sum(pc.match_substring_regex(rows.column("text"), CONTROL)).as_py() or 0
            yield rows

    def _as_texts(self, batch: Batch) -> tuple[dict[str, list[str | None]], dict[int, Unreadable]]:
        """Returns the cells of each column as texts, and why rows cannot be used, whose texts are None."""
        texts = {name: list(batch.cells[column]) for name, column in self._of.items()}
        unreadable = dict(batch.unreadable)
        if self.form.encoding is not None and self.form.encoding.damage is None and self.form.separator is not None:
            return texts, unreadable  # each cell is a text, and whole
        self._types.update(_kind(cell) for cell in texts["label"] if cell is not None and cell is not ABSENT)
        for name, cells in texts.items():
            for at, cell in enumerate(cells):
                if at not in unreadable:
                    cells[at] = self._text_of(cell, self._of[name], batch, at, unreadable)
        for at in unreadable:
            for cells in texts.values():
                cells[at] = None
        return texts, unreadable

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


class FileOfMessages:
    """The rows of a file, in batches: which are messages, and why others are none. They are read once.

    schema: that of the batches, as in `LabelledRows`; `reason` is null where a row is a message. rows: how many were
    read so far. form: what the file is. warnings: sentences, complete once all batches were taken.
    """

    def __init__(self, file: DataFile, labelled: LabelledRows, *, refused: Mapping[str, bool]) -> None:
        """refused: by reason, whether a row that is no message is an error."""
        self.schema, self.form = labelled.schema, labelled.form
        self.rows = 0
        self._file, self._labelled, self._refused = file, labelled, refused
        self._left_out = Counter[str]()
        self._first: dict[str, list[int]] = {reason: [] for reason in refused}  # numbers of the first rows, to be named

    @property
    def warnings(self) -> list[str]:
        """Sentences about what was read so far."""
        return self._labelled.warnings

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yields the batches in the order of the file; raises MessagesError, at the latest behind the last one, if the
        file is damaged or has no messages, or a row is none and that is an error."""
        for batch in self._labelled:
            reasons = _reasons(batch)
            self._count(batch.column("row"), reasons)
            yield batch.set_column(batch.schema.get_field_index("reason"), "reason", reasons)
        self._require_messages()

    def frame(self) -> pd.DataFrame:
        """Returns the messages (id int64, text str, label str): `id` is the row's number in the file, from 0 over the
        rows with data, those that are no messages included. Raises MessagesError as the batches do."""
        table = pa.Table.from_batches(self, self.schema)
        kept = table.filter(pc.is_null(table.column("reason"))).select(["row", "text", "label"])
        frame: pd.DataFrame = kept.rename_columns(MESSAGES.names).to_pandas()
        return frame

    def _count(self, rows: pa.Int64Array, reasons: pa.StringArray) -> None:
        self.rows += len(rows)
        for each in reasons.drop_null().value_counts().to_pylist():
            reason = each["values"]
            self._left_out[reason] += each["counts"]
            first = self._first.get(reason)
            if first is not None and len(first) < NAMED:
                first += rows.filter(pc.equal(reasons, reason)).slice(0, NAMED).to_pylist()

    def _require_messages(self) -> None:
        """Raises MessagesError unless there are messages, each with a text and a label, and nothing that is refused."""
        name = self._file.name
        if not self.rows:
            what = "has no messages, only a header row or blank lines" if self._file.head(1) else "is empty"
            raise MessagesError(f"{name} {what}: is it the right file?")
        problems = []
        for reason, column in COLUMN_OF.items():
            count = self._left_out[reason]
            every = count == self.rows
            if count and self._refused[reason]:
                suspect = f"; or is --data.{column}_column another column, as every {column} is empty?" if every else ""
                problems.append(
                    f"{counted(count, self._first[reason], 'row', 'rows', start=0)} an empty {column}: fill in, remove,"
                    f" or leave out with --data.empty_{column} drop{suspect}"
                )
            elif every:
                problems.append(f"every {column} is empty: is --data.{column}_column the right one?")
        if problems:
            raise MessagesError(f"{name}: {'; '.join(problems)}")
        if self._left_out.total() == self.rows:
            raise MessagesError(f"{name}: no row has a text and a label that can be read: is it the right file?")


def read_messages(
    file: DataFile,
    how: How,
    *,
    text_column: Column,
    label_column: Column,
    split_column: Column | None = None,
    slice_column: Column | None = None,
    empty_text: Literal["error", "drop"],
    empty_label: Literal["error", "drop"] = "error",
    bad_rows: Literal["error", "drop"] = "error",
) -> FileOfMessages:
    """Opens a file of messages.

    Labels and texts are kept as written: "NA", "007" and "1e5" are text, and spaces at the ends stay. Numbers and
    booleans of JSON, Parquet and workbooks become text: `1` as written, `true`, `false`.

    Args:
        text_column: a name in the header row, of a field or of a column, or a position (from 0) in a table without a
            header row. `label_column` likewise, `split_column`, if splits exist as a column, and `slice_column`, if
            its values are kept, too.
        empty_text: whether an empty, blank or null text is an error or leaves its row out.
        empty_label: the same for labels.
        bad_rows: the same for rows that cannot be read.

    Raises MessagesError if nothing tells how the file is written, or it is damaged at its beginning.
    """
    rows = LabelledRows(
        file,
        how,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        slice_column=slice_column,
        bad_rows=bad_rows,
    )
    return FileOfMessages(file, rows, refused={EMPTY_TEXT: empty_text == "error", EMPTY_LABEL: empty_label == "error"})


def _reasons(batch: pa.RecordBatch) -> pa.StringArray:
    """Returns why rows are no messages, null where they are."""
    text, label, reason = (batch.column(name) for name in ("text", "label", "reason"))
    written = pc.fill_null(text, "")
    empty = pc.or_(pc.equal(written, ""), pc.utf8_is_space(written))
    reason = pc.if_else(pc.and_(pc.is_null(reason), empty), EMPTY_TEXT, reason)
    return pc.if_else(pc.and_(pc.is_null(reason), _unlabelled(label)), EMPTY_LABEL, reason)


def _unlabelled(labels: pa.StringArray) -> pa.BooleanArray:
    """Marks the labels of which trimming leaves nothing."""
    nothing = [label for label in pc.unique(labels).to_pylist() if label is None or not trimmed(label)]
    return pc.is_in(labels, value_set=pa.array(nothing, pa.string()))


def counted(count: int, first: Sequence[int], one: str, many: str, *, start: int) -> str:
    """Begins an error: "row 3 (counted from 0) has", "2 rows (3, 4; counted from 0) have". first: the first numbers, of
    which NAMED are named."""
    if count == 1:
        return f"{one} {first[0]} (counted from {start}) has"
    named = ", ".join(map(str, first[:NAMED])) + (", …" if count > NAMED else "")
    return f"{count} {many} ({named}; counted from {start}) have"
