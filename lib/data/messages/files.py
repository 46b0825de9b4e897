"""Reads the files of a run: one data set to be divided, or splits that exist already, as files or by a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa

from lib.data.messages.given import UNNAMED_SPLIT, splits_by_value
from lib.data.messages.labels import LabelRules, Settled, settle, shown
from lib.data.messages.reading import FileOfMessages
from lib.data.source.data_file import DataFile
from lib.data.tables import LEFT_OUT, LINES, SPLITS
from lib.errors import LabelError, listed

OF_ONE_FILE = ("name", "split", "rows")


@dataclass(frozen=True)
class SplitsRead:
    """What the files of a run have.

    splits: a table of each split: id int64, text str, label str, in the files' order; and `slice` if that was read.
    labels: the label names in the order of their targets.
    lines: the schema `LINES`: where the messages stand, in the order of the splits.
    left_out: the schema `LEFT_OUT`: the rows that are no messages, of all files, in their order.
    files: JSON-able, of each file its name, split, rows and what it is.
    warnings: sentences about them.
    """

    splits: dict[str, pd.DataFrame]
    labels: tuple[str, ...]
    lines: pa.Table
    left_out: pa.Table
    files: list[dict[str, Any]]
    warnings: list[str]

    def forms(self) -> list[dict[str, Any]]:
        """Returns how the files are written, each way once: format, encoding, separator and so on."""
        forms = [{name: fact for name, fact in file.items() if name not in OF_ONE_FILE} for file in self.files]
        return [form for number, form in enumerate(forms) if form not in forms[:number]]

    @property
    def reasons(self) -> dict[str, int]:
        """The rows that are left out, by reason."""
        return dict(Counter(self.left_out.column("reason").to_pylist()))


@dataclass(frozen=True)
class _Piece:
    """The messages that a file has of one split.

    messages: those of a `FileOfMessages`, and what it has beside them. first: the number that the file's first row has
    over all files.
    """

    split: str
    file: DataFile
    messages: pd.DataFrame
    first: int


def read_splits(
    files: Mapping[str, Sequence[DataFile]],
    read: Callable[[DataFile], FileOfMessages],
    *,
    rules: Callable[[int], LabelRules] = lambda splits: LabelRules(),
    by_column: bool = False,
    split_names: Mapping[str, Sequence[str]] | None = None,
) -> SplitsRead:
    """Reads the files of each split, one after the other, and settles their labels.

    `id` counts the rows of all files from 0 on, in the order train, validation, test, and within a split in that of its
    files; rows that are left out are counted too.

    Args:
        files: `train`, and where they are given `validation` and `test`; at least one file each.
        read: reads one file, as `lib.data.messages.reading.read_messages` does.
        rules: what becomes of labels, by the number of splits that train is divided into.
        by_column: whether the column `split` of the messages says to which split a row belongs; `split_names`: what
            they are called there.

    Raises LabelError as `settle` does, or if a given validation or test split has a label that train has not. They may
    lack labels that train has. Raises MessagesError as `splits_by_value` does.
    """
    pieces, left_out, facts, warnings = [], [], [], []
    rows = 0
    for split in (name for name in SPLITS if name in files):
        for file in files[split]:
            found = read(file)
            pieces.append(_Piece(split, file, found.messages.join(found.beside), rows))
            left_out.append(_left_out(file, rows, found.left_out.to_pandas()))
            facts.append({"name": file.name, "split": split, "rows": found.rows, **found.form.as_json()})
            warnings += found.warnings
            rows += found.rows
    where = listed(file.name for file in files["train"])
    if by_column:
        pieces = list(_by_column(pieces, split_names, left_out, where))
    given = [piece for piece in pieces if piece.split != "train"]
    made = len(SPLITS) - len({piece.split for piece in given})
    settled = settle(
        _label_counts(piece for piece in pieces if piece.split == "train"),
        rules(made),
        given=_label_counts(given),
        where=where,
    )
    tables: dict[str, list[pd.DataFrame]] = {}
    lines: list[pa.Table] = []
    pieces.sort(key=lambda piece: SPLITS.index(piece.split))
    pieces.reverse()
    while pieces:  # each is let go once it is settled: both would take the memory twice
        piece = pieces.pop()
        kept = _settled(piece, settled, left_out)
        lines.append(pa.Table.from_pandas(kept[LINES.names], LINES, preserve_index=False))
        tables.setdefault(piece.split, []).append(kept.drop(columns="line"))
    return SplitsRead(
        splits={split: pd.concat(several, ignore_index=True) for split, several in tables.items()},
        labels=settled.labels,
        lines=pa.concat_tables(lines),
        left_out=_in_order(left_out),
        files=facts,
        warnings=[*warnings, *settled.warnings],
    )


def _by_column(
    pieces: Sequence[_Piece],
    names: Mapping[str, Sequence[str]] | None,
    left_out: list[pd.DataFrame],
    where: str,
) -> Iterator[_Piece]:
    """Yields the messages of each file and split by what the column says, and leaves out rows of other values."""
    counts = Counter(value for piece in pieces for value in piece.messages["split"].fillna(""))
    split_of = splits_by_value(counts, names, where=where)
    for piece in pieces:
        of_rows = piece.messages["split"].fillna("").map(split_of)
        unknown = piece.messages[of_rows.isna()]
        left_out.append(_left_out(piece.file, piece.first, _reasoned(unknown, UNNAMED_SPLIT)))
        for split in SPLITS:
            messages = piece.messages[of_rows == split]
            if len(messages):
                yield replace(piece, split=split, messages=messages)


def _settled(piece: _Piece, settled: Settled, left_out: list[pd.DataFrame]) -> pd.DataFrame:
    """Returns the messages of a piece (id, text, label, line, and slice if that was read), labels settled; those that
    leave go to `left_out`."""
    messages = piece.messages
    names = messages["label"].map(settled.becomes)
    leaving = messages[names.isna()]
    for reason, rows in leaving.groupby(leaving["label"].map(settled.leaves)):
        left_out.append(_left_out(piece.file, piece.first, _reasoned(rows, str(reason))))
    columns = [name for name in ("id", "text", "label", "line", "slice") if name in messages]
    kept = messages[columns].assign(id=messages["id"] + piece.first, label=names)
    if len(leaving):
        kept = kept[names.notna()]
    if piece.split != "train":
        _require_known(kept["label"], settled.labels, piece)
    return kept


def _label_counts(pieces: Iterable[_Piece]) -> Counter[str]:
    """Returns rows by label as written."""
    total: Counter[str] = Counter()
    for piece in pieces:
        total.update({str(label): count for label, count in piece.messages["label"].value_counts().items()})
    return total


def _require_known(labels: pd.Series, known: Sequence[str], piece: _Piece) -> None:
    unknown = sorted(set(labels) - set(known))
    if unknown:
        raise LabelError(
            f"{piece.file.name}: no message of train has the label {listed(map(shown, unknown), most=1)}, so"
            f" {piece.split} cannot have it: add such messages to data.files.train, or remove them from this file"
        )


def _reasoned(messages: pd.DataFrame, reason: str) -> pd.DataFrame:
    """Returns the rows of messages that leave a file, with the reason."""
    return messages[["id", "line"]].rename(columns={"id": "row"}).assign(reason=reason)


def _left_out(file: DataFile, first: int, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns rows (row, line, reason) of a file as those of all files, with their place among these."""
    return rows.assign(file=file.name, place=rows["row"] + first)


def _in_order(left_out: Sequence[pd.DataFrame]) -> pa.Table:
    """Returns the rows that are left out with the schema `LEFT_OUT`, in the order of the files."""
    rows = pd.concat([table for table in left_out if len(table)] or left_out[:1]).sort_values("place")
    columns = [pa.array(rows[each.name], each.type, from_pandas=True) for each in LEFT_OUT]
    return pa.table(columns, schema=LEFT_OUT)
