"""Reads the files of a run: one file to be divided, or several that are splits already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from lib.data.messages.reading import DROPPED, FileOfMessages
from lib.data.source.data_file import DataFile
from lib.data.tables import LEFT_OUT, SPLITS
from lib.errors import LabelError, listed

OF_ONE_FILE = ("name", "split", "rows")


@dataclass(frozen=True)
class SplitsRead:
    """What the files of a run have.

    splits: a table of each split: id int64, text str, label str, in the files' order.
    left_out: the schema `LEFT_OUT`: the rows that are no messages, of all files.
    files: JSON-able, of each file its name, split, rows and what it is.
    warnings: sentences about them.
    """

    splits: dict[str, pd.DataFrame]
    left_out: pa.Table
    files: list[dict[str, Any]]
    warnings: list[str]

    def forms(self) -> list[dict[str, Any]]:
        """Returns how the files are written, each way once: format, encoding, separator and so on."""
        forms = [{name: fact for name, fact in file.items() if name not in OF_ONE_FILE} for file in self.files]
        return [form for number, form in enumerate(forms) if form not in forms[:number]]


def read_splits(files: Mapping[str, Sequence[DataFile]], read: Callable[[DataFile], FileOfMessages]) -> SplitsRead:
    """Reads the files of each split, one after the other.

    `id` counts the rows of all files from 0 on, in the order train, validation, test, and within a split in that of its
    files; rows that `read` left out are counted too. Tables count empty texts in `attrs["empty_texts_dropped"]`.

    Args:
        files: `train`, and where they are given `validation` and `test`; at least one file each.
        read: reads one file, as `lib.data.messages.reading.read_messages` does.

    Raises LabelError if all messages of train have the same label, or if a given validation or test split has a label
    that train has not. They may lack labels that train has.
    """
    splits: dict[str, pd.DataFrame] = {}
    left_out, facts, warnings = [LEFT_OUT.empty_table()], [], []
    known: set[str] = set()
    rows = 0
    for split in (name for name in SPLITS if name in files):
        tables = []
        for file in files[split]:
            found = read(file)
            if splits:
                _require_known(found.messages["label"], known, split, file.name)
            tables.append(found.messages.assign(id=found.messages["id"] + rows))
            names = pa.array([file.name] * len(found.left_out), pa.string())
            left_out.append(pa.table([names, *found.left_out.columns], schema=LEFT_OUT))
            facts.append({"name": file.name, "split": split, "rows": found.rows, **found.form.as_json()})
            warnings += found.warnings
            rows += found.rows
        splits[split] = joined(tables)
        if split == "train":
            known = set(splits["train"]["label"])
            _require_two(known, files["train"])
    return SplitsRead(splits, pa.concat_tables(left_out), facts, warnings)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Returns the messages of several tables in one, with the sum of their dropped rows."""
    whole = pd.concat(tables, ignore_index=True)
    whole.attrs = {DROPPED: sum(table.attrs[DROPPED] for table in tables)}  # pandas keeps only what is the same in all
    return whole


def _require_two(labels: set[str], files: Sequence[DataFile]) -> None:
    if len(labels) == 1:
        raise LabelError(
            f"{listed(source.name for source in files)}: every message has the label {next(iter(labels))!r}:"
            " a classifier needs messages of at least two labels"
        )


def _require_known(labels: pd.Series, known: set[str], split: str, name: str) -> None:
    unknown = sorted(set(labels) - known)
    if unknown:
        raise LabelError(
            f"{name}: no message of train has the label {listed(map(repr, unknown), most=1)}, so {split} cannot"
            " have it: add such messages to data.files.train, or remove them from this file"
        )
