"""Splits entries into train, test and validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.data.entries.reading import first_questions, questions
from lib.data.messages.split import Ints, fill, straddling
from lib.data.tables import SPLITS
from lib.errors import MessagesError, RecipeError

IN_TURN = ("train", "test", "validation")  # the order in which splits are filled


@dataclass(frozen=True)
class EntrySplits:
    """Three tables of entries (id int64, instruction, input, output, perhaps earlier) and a JSON-able report.

    The report counts the `rows` of each split and, as `straddling`, the entries of validation and test with a question
    in train that is the same (`copies`) or nearly (`near_duplicates`): for the split that was `made`, and for the
    `plain` one that does not group near-duplicates.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    report: dict[str, Any]

    def tables(self) -> dict[str, pd.DataFrame]:
        return {name: getattr(self, name) for name in SPLITS}


def split_entries(
    entries: pd.DataFrame, *, train: float, test: float, shuffle: bool, seed: int, group_duplicates: bool
) -> EntrySplits:
    """Divides entries (id, instruction, input, output, perhaps earlier) in the order of the file: train, then test,
    then validation.

    With both options off this is the published procedure: the first `int(n * train)` entries to train, the next `int(n
    * test)` to test, the rest to validation; 1,100 entries at 0.85 and 0.1 give 935, 110 and 55.

    shuffle: orders the entries by `sample(frac=1, random_state=seed)` first; splits keep that order.
    group_duplicates: puts entries with the same question into one split. A group's turn is that of its first entry in
    the file; if it does not fit, it goes to the next split with room for all of it. Sizes differ from those above only
    where no split has room.

    Raises RecipeError if the fractions leave nothing for validation, MessagesError if there are too few entries for one
    in each split.
    """
    if not (train > 0 and test > 0 and train + test < 1):
        raise RecipeError(
            f"split.train and split.test are {train:g} and {test:g}: both must be above 0, and their sum below 1, since"
            " validation gets the rest"
        )
    ordered = entries.sample(frac=1, random_state=seed) if shuffle else entries
    ordered = ordered.reset_index(drop=True)
    asked = questions(ordered)
    exact = pd.Series(["\0".join(question) for question in first_questions(ordered)])

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
    """Converts positions in `IN_TURN` to positions in `SPLITS`."""
    return np.array([SPLITS.index(name) for name in IN_TURN])[turns]


def _grouped(ids: pd.Series, asked: pd.Series, shares: Sequence[int]) -> Ints:
    """Returns the turn of each entry; entries with the same question have one turn.

    A group's place is that of its first entry in the file. By the first of all its entries in shuffled order, large
    groups would crowd to the front, and so into train.
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
