"""Splits entries into train, test and validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.data.entries.reading import questions
from lib.data.messages.split import Ints, fill, straddling
from lib.data.tables import SPLITS
from lib.errors import MessagesError, RecipeError

IN_TURN = ("train", "test", "validation")  # who gets the first entries of the file, the next, and the rest


@dataclass(frozen=True)
class EntrySplits:
    """Three tables of entries (id int64, instruction, input, output).

    report: JSON-able.
        rows: for each split its entries.
        straddling: how many entries of validation and of test have a near-duplicate in train (`near_duplicates`: the
            same question but for case, digits, punctuation and space), and how many one with exactly the same
            instruction and input (`copies`); for the split that was `made`, and for the `plain` one that does not keep
            near-duplicates together.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    report: dict[str, Any]

    def tables(self) -> dict[str, pd.DataFrame]:
        """The three tables by name."""
        return {name: getattr(self, name) for name in SPLITS}


def split_entries(
    entries: pd.DataFrame, *, train: float, test: float, shuffle: bool, seed: int, group_duplicates: bool
) -> EntrySplits:
    """Divide entries (id, instruction, input, output) in the order of the file: train, then test, then validation.

    With both options off this is the published procedure: the first `int(n * train)` entries to train, the next
    `int(n * test)` to test, the rest to validation; of 1,100 entries at 0.85 and 0.1 they are 935, 110 and 55.

    shuffle: first put the entries into the order of `sample(frac=1, random_state=seed)`; it stays within each split.
    group_duplicates: entries with the same question all go to one split. Splits are filled in turn as before, a group
        where its first entry in the file stands. A group that no longer fits goes to the next split with room for all
        of it, and later entries take the places that it leaves: sizes differ from those above only where none has.

    Raises:
        RecipeError: the fractions leave nothing for validation.
        MessagesError: there are too few entries for one in each split.
    """
    if not (train > 0 and test > 0 and train + test < 1):
        raise RecipeError(
            f"split.train and split.test are {train:g} and {test:g}: both must be above 0, and their sum below 1, since"
            " validation gets the rest"
        )
    ordered = entries.sample(frac=1, random_state=seed) if shuffle else entries
    ordered = ordered.reset_index(drop=True)
    asked = questions(ordered)
    exact = ordered["instruction"] + "\0" + ordered["input"]

    rows = len(ordered)
    shares = [int(rows * train), int(rows * test)]
    shares.append(rows - sum(shares))
    plain = _numbers(np.repeat(np.arange(3), shares))
    made = _numbers(_grouped(ordered["id"], asked, shares)) if group_duplicates else plain
    tables = {name: ordered[made == number].reset_index(drop=True) for number, name in enumerate(SPLITS)}
    _check_sizes(tables, rows, different=asked.nunique() if group_duplicates else rows)
    report = {
        "rows": {name: len(table) for name, table in tables.items()},
        "straddling": {
            name: {"near_duplicates": straddling(asked, split), "copies": straddling(exact, split)}
            for name, split in (("made", made), ("plain", plain))
        },
    }
    return EntrySplits(**tables, report=report)


def _numbers(turns: Ints) -> Ints:
    """From positions in `IN_TURN` to positions in `SPLITS`."""
    return np.array([SPLITS.index(name) for name in IN_TURN])[turns]


def _grouped(ids: pd.Series, asked: pd.Series, shares: Sequence[int]) -> Ints:
    """The turn of each entry, when all entries that ask the same have one.

    A group's place is that of its entry that stands first in the file. Had it the place of the first of all its
    entries in shuffled order, large groups would crowd to the front, and so into train.
    """
    by_question = ids.groupby(asked)
    leaders = by_question.idxmin().sort_values()  # question to row, in the order of the rows
    turns = fill(by_question.size()[leaders.index].tolist(), shares)
    return asked.map(dict(zip(leaders.index, turns, strict=True))).to_numpy(dtype=np.int64)


def _check_sizes(tables: dict[str, pd.DataFrame], rows: int, *, different: int) -> None:
    for name, table in tables.items():
        if table.empty:
            alike = "" if different == rows else f" ({different} if near-duplicates are counted once)"
            raise MessagesError(
                f"{rows} entr{'y' if rows == 1 else 'ies'}{alike} are too few for one in each split ({name} has none):"
                " add entries, or change split.train and split.test"
            )
