"""Splits messages into train, validation and test, with near-duplicates in one split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.data.messages.keys import coded
from lib.data.tables import SPLITS
from lib.errors import LabelError, RecipeError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Three tables (id int64, text, label, target int64), rows in shuffled order, but for a given test split, which has
    the order of its file.

    labels: the label names in order; a row's target is its label's position.
    report: JSON-able counts: `rows` of each split, `labels` of each split, and `straddling`, the messages of validation
    and test with a near-duplicate (`near_duplicates`) or exact copy (`copies`) in train: for the split that was `made`,
    and for the `plain` one of the published procedure with the same messages and seed. `given`: the names of the splits
    that were given, which are the same in both. `dropped_from_train`: messages that were left out of what was divided.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    labels: tuple[str, ...]
    report: dict[str, Any]

    def tables(self) -> dict[str, pd.DataFrame]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split_messages(
    messages: pd.DataFrame,
    *,
    train: float,
    validation: float,
    test: float,
    seed: int,
    stratify: bool,
    group_duplicates: bool,
    labels: Sequence[str] | None = None,
    given: Mapping[str, pd.DataFrame] = MappingProxyType({}),
    near_duplicates: Literal["keep", "drop_from_train"] = "keep",
) -> Splits:
    """Shuffles messages (id, label, and the keys of their texts or the texts themselves) and divides them by the three
    fractions, which sum to 1. Other columns stay.

    With both options off this is the published procedure to the row: `sample(frac=1, random_state=seed)`, the first
    `int(n * train)` rows to train, the next `int(n * validation)` to validation, the rest to test. The options never
    change the shuffled order within a split.

    stratify: gives each split its fraction of each label, to within a message or so, and at least one message.
    group_duplicates: puts near-duplicates into one split. A group that does not fit goes to the next split with room
    for all of it; sizes differ from the fractions only where no split has room.

    Only train gets the copies that oversampling made (rows with the same id). In validation or test they would be right
    or wrong together: the metrics would claim more messages than there are, and weight some more than others.

    labels: the label names in the order of their targets (None: alphabetical).

    given: `validation` or `test` or both, as tables of other ids with labels of `messages`; `messages` are divided into
    the other splits, in the proportion of their fractions. Given splits stay as they are. Validation alone is shuffled,
    because files are often sorted by label, and an evaluation while training may look at the first messages only.

    near_duplicates: what becomes of messages with a near-duplicate in a given split: they stay, and the report counts
    them, or they are left out of what is divided.

    Raises RecipeError if the fractions do not sum to 1, LabelError if some split has no message of a label.
    """
    wanted = {"train": train, "validation": validation, "test": test}
    require_fractions(wanted)
    labels = tuple(labels or sorted(set(messages["label"])))
    rows = len(messages)
    messages, *beside = coded([messages, *given.values()])
    given = dict(zip(given, beside, strict=True))
    if near_duplicates == "drop_from_train":
        messages = _without_near_duplicates(messages, given)
    dropped = rows - len(messages)
    messages = _with_targets(messages, labels)
    shuffled = messages.drop_duplicates("id").sample(frac=1, random_state=seed).reset_index(drop=True)
    made_here = [name for name in SPLITS if name not in given]
    fractions = proportions(wanted, made_here)

    group = pd.factorize(shuffled["near"])[0] if group_duplicates else np.arange(len(shuffled))
    stratum = shuffled["target"] if stratify else 0
    units = pd.DataFrame({"id": shuffled["id"], "group": group, "stratum": stratum})
    made = _divide(units, fractions, at_least_one=stratify)
    plain = np.repeat(np.arange(len(fractions)), _shares([len(shuffled)], fractions)[0])
    _check_labels(shuffled["label"], made, units["group"], splits=made_here, stratify=stratify)

    tables = {name: shuffled[made == number].reset_index(drop=True) for number, name in enumerate(made_here)}
    if len(shuffled) < len(messages):
        copies = messages[messages["id"].isin(tables["train"]["id"])]
        tables["train"] = copies.sample(frac=1, random_state=seed).reset_index(drop=True)
    for name, table in given.items():
        tables[name] = _with_targets(table if name == "test" else table.sample(frac=1, random_state=seed), labels)
    tables = {name: tables[name].reset_index(drop=True) for name in SPLITS}

    numbers = np.array([SPLITS.index(name) for name in made_here])
    report = {
        "rows": {name: len(table) for name, table in tables.items()},
        "labels": {name: label_counts(table["label"], labels) for name, table in tables.items()},
        "straddling": {
            "made": _straddling(shuffled, numbers[made], given),
            "plain": _straddling(shuffled, numbers[plain], given),
        },
        "given": [name for name in SPLITS if name in given],
        "dropped_from_train": dropped,
    }
    plain_tables = {name: table.drop(columns=["near", "exact_code"]) for name, table in tables.items()}
    return Splits(**plain_tables, labels=labels, report=report)


def _without_near_duplicates(messages: pd.DataFrame, given: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Returns the messages without a near-duplicate in a given split. Raises LabelError if a label loses them all."""
    kept = messages[~messages["near"].isin(pd.concat([table["near"] for table in given.values()] or [pd.Series()]))]
    lost = sorted(set(messages["label"]) - set(kept["label"]))
    if lost:
        raise none_left(lost[0])
    return kept.reset_index(drop=True)


def _with_targets(messages: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    targets = {label: target for target, label in enumerate(labels)}
    return messages.assign(target=messages["label"].map(targets).astype("int64"))


def require_fractions(fractions: Mapping[str, float]) -> None:
    """Raises RecipeError if the fractions of the splits do not sum to 1."""
    total = sum(fractions.values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise RecipeError(f"split.train, split.validation and split.test must sum to 1, not {total:g}")


def proportions(fractions: Mapping[str, float], made_here: Sequence[str]) -> list[float]:
    """Returns the fractions of the splits that are made here, scaled to sum to 1; all three are returned as they are,
    because the published counts depend on the last bit."""
    if len(made_here) == len(fractions):
        return list(fractions.values())
    total = math.fsum(fractions[name] for name in made_here)
    return [fractions[name] / total for name in made_here]


def _divide(units: pd.DataFrame, fractions: Sequence[float], *, at_least_one: bool) -> Ints:
    """Returns for each row of `units` (id, group, stratum; in shuffled order) the position of its split's fraction.

    A group's turn and stratum are those of its first message in the file. By the first of all its messages in shuffled
    order, large groups would crowd to the front, and so into train.
    """
    groups = units.groupby("group")["id"]
    sizes = groups.size()
    leaders = units.loc[groups.idxmin().sort_values()]  # one row for each group, in the order of their turns
    strata = [stratum["group"] for _, stratum in leaders.groupby("stratum")]
    shares = _shares([int(sizes[stratum].sum()) for stratum in strata], fractions)
    split_of = np.empty(len(sizes), dtype=np.int64)
    for stratum, share in zip(strata, shares, strict=True):
        in_turn = sizes[stratum].tolist()
        chosen = fill(in_turn, _lifted(share) if at_least_one else share)
        split_of[stratum] = _no_split_empty(in_turn, chosen, len(share)) if at_least_one else chosen
    return split_of[units["group"]]


def _shares(sizes: Sequence[int], fractions: Sequence[float]) -> list[list[int]]:
    """Returns the number of messages that each stratum has in each split. Their sums over the strata are the published
    `int(n * fraction)`, and for the last split the rest, because rounding remainders are carried over."""
    ends = np.cumsum([0, *sizes])
    rows = int(ends[-1])
    shares = [np.diff(ends * int(rows * fraction) // rows).tolist() for fraction in fractions[:-1]]
    return [[*share, size - sum(share)] for size, *share in zip(sizes, *shares, strict=True)]


def _lifted(share: Sequence[int]) -> list[int]:
    """Raises each split's share to at least one message, taken from the largest, if there are enough messages."""
    lifted = list(share)
    while min(lifted) < 1 < max(lifted):
        lifted[lifted.index(max(lifted))] -= 1
        lifted[lifted.index(min(lifted))] += 1
    return lifted


def fill(sizes: Sequence[int], share: Sequence[int]) -> list[int]:
    """Returns the split of each group: the first with room for all of it, or else the one with the most room."""
    room = list(share)
    chosen = []
    for size in sizes:
        fitting = (split for split in range(len(room)) if room[split] >= size)
        split = next(fitting, room.index(max(room)))
        room[split] -= size
        chosen.append(split)
    return chosen


def _no_split_empty(sizes: Sequence[int], chosen: Sequence[int], splits: int) -> list[int]:
    """Gives each split without a group the smallest group that another can spare (tiny classes)."""
    mended = list(chosen)
    for split in range(splits):
        counts = Counter(mended)
        spare = [turn for turn, other in enumerate(mended) if counts[other] > 1]
        if counts[split] == 0 and spare:
            mended[min(spare, key=lambda turn: sizes[turn])] = split
    return mended


def _check_labels(labels: pd.Series, split: Ints, groups: pd.Series, *, splits: Sequence[str], stratify: bool) -> None:
    """Requires every label in each of `splits`: it must be in train to be learned, and elsewhere to be measured."""
    for label, rows in labels.groupby(labels):
        missing = [name for number, name in enumerate(splits) if number not in split[rows.index]]
        if missing:
            different = groups[rows.index].nunique()
            otherwise = "" if stratify else "switch split.stratify on, "
            raise too_few(str(label), rows=len(rows), different=different, missing=missing[0], otherwise=otherwise)


def none_left(label: str) -> LabelError:
    """Returns what is said of a label that loses all messages to a given split."""
    return LabelError(
        f"every message labelled {label!r} has a near-duplicate in a given split, so none is left to learn from: set"
        " split.near_duplicates to keep, or give more messages"
    )


def too_few(label: str, *, rows: int, different: int, missing: str, otherwise: str) -> LabelError:
    """Returns what is said of a label with too few messages for one in each split. different: how many they are if
    near-duplicates are counted once; missing: a split that has none; otherwise: more to do."""
    alike = "" if different == rows else f" ({different} if near-duplicates are counted once)"
    return LabelError(
        f"label {label!r} has {rows} message{'s' * (rows != 1)}{alike}, too few for one in each split ({missing} has"
        f" none): merge it with another label in data.labels, remove it with --data.rare_labels drop"
        f" --data.rare_label_rows {rows + 1}, {otherwise}or change the fractions"
        " in split"
    )


def _straddling(messages: pd.DataFrame, split: Ints, given: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """Counts the near-duplicates and copies in train of what was split or given."""
    of_given = np.repeat(np.array([SPLITS.index(name) for name in given], np.int64), list(map(len, given.values())))
    numbers = np.append(split, of_given)
    return {
        kind: straddling(
            pd.concat([table[column] for table in (messages, *given.values())], ignore_index=True), numbers
        )
        for kind, column in (("near_duplicates", "near"), ("copies", "exact_code"))
    }


def label_counts(labels: pd.Series, names: Iterable[str]) -> dict[str, int]:
    counts = Counter(labels)
    return {name: counts[name] for name in names}


def straddling(keys: pd.Series, split: Ints) -> dict[str, int]:
    """Counts the messages of validation and test whose key also occurs in train."""
    train = keys[split == SPLITS.index("train")]
    return {name: int(keys[split == SPLITS.index(name)].isin(train).sum()) for name in ("validation", "test")}
