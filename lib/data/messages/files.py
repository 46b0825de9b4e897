"""Reads the files of a run: one file to be divided, or several that are splits already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.data.messages.reading import DROPPED
from lib.data.tables import SPLITS
from lib.errors import LabelError, listed


@dataclass(frozen=True)
class SourceFile:
    """A fetched file of a run."""

    file: Path
    name: str  # what errors call it


def read_splits(
    files: Mapping[str, Sequence[SourceFile]], read: Callable[[Path, str], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Reads the files of each split, one after the other: id int64, text str, label str, in the files' order.

    `id` counts the rows of all files from 0 on, in the order train, validation, test, and within a split in that of its
    files; rows that `read` dropped are counted too. Tables count those in `attrs["empty_texts_dropped"]`.

    Args:
        files: `train`, and where they are given `validation` and `test`; at least one file each.
        read: makes the table of one file, as `lib.data.messages.reading.read_messages` does, from its path and the name
            that errors call it.

    Raises LabelError if all messages of train have the same label, or if a given validation or test split has a label
    that train has not. They may lack labels that train has.
    """
    splits: dict[str, pd.DataFrame] = {}
    known: set[str] = set()
    rows = 0
    for split in (name for name in SPLITS if name in files):
        tables = []
        for source in files[split]:
            table = read(source.file, source.name)
            if splits:
                _require_known(table["label"], known, split, source.name)
            tables.append(table.assign(id=table["id"] + rows))
            rows += len(table) + table.attrs[DROPPED]
        splits[split] = joined(tables)
        if split == "train":
            known = set(splits["train"]["label"])
            _require_two(known, files["train"])
    return splits


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Returns the messages of several tables in one, with the sum of their dropped rows."""
    whole = pd.concat(tables, ignore_index=True)
    whole.attrs = {DROPPED: sum(table.attrs[DROPPED] for table in tables)}  # pandas keeps only what is the same in all
    return whole


def _require_two(labels: set[str], files: Sequence[SourceFile]) -> None:
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
