"""Holds a frozen test set out of the splits that later runs learn from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.data.duplicates import normalise
from lib.data.messages.split import straddling
from lib.data.tables import SPLITS
from lib.errors import LabelError

LEARNED_FROM = ("train", "validation")  # weights come from the one, and which of them are kept may come from the other
NOTHING = "none"


@dataclass(frozen=True)
class HeldOut:
    """What is left of a split.

    tables: `train`, `validation` and `test` (id int64, text, label, target int64), rows in their order.
    report: that of the split (see `lib.data.messages.split.Splits`), counted again, with `held_out`: rows taken out of
        `train` and of `validation`.
    """

    tables: dict[str, pd.DataFrame]
    report: dict[str, Any]


def freezable(splits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The test messages (id, text, label) that have no near-duplicate among those that the run learned from.

    With `split.group_duplicates` these are all of them. Without, some test messages are known to the classifier, and
    no test for it.
    """
    known = {normalise(text) for name in LEARNED_FROM for text in splits[name]["text"]}
    test = splits["test"]
    unknown = [normalise(text) not in known for text in test["text"]]
    return test.loc[unknown, ["id", "text", "label"]].reset_index(drop=True)


def ids_to_hold_out(splits: Mapping[str, pd.DataFrame], frozen: Iterable[str]) -> list[int]:
    """The ids, ascending, of the messages in train and validation that are near-duplicates of a text in `frozen`."""
    fingerprints = {normalise(text) for text in frozen}
    return sorted(
        {
            int(message)
            for name in LEARNED_FROM
            for message, text in zip(splits[name]["id"], splits[name]["text"], strict=True)
            if normalise(text) in fingerprints
        }
    )


def exclusion_digest(ids: Sequence[int]) -> str:
    """What stands for held-out messages in a cache key: a sha256 over their ids, or "none"."""
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest() if ids else NOTHING


def hold_out(
    splits: Mapping[str, pd.DataFrame], report: Mapping[str, Any], ids: Iterable[int], *, name: str
) -> HeldOut:
    """The split without the messages of these ids in train and validation; test stays as it is.

    Args:
        splits: the three tables (id, text, label, target).
        report: what `split.json` says of them.
        name: the registered name that the frozen test set belongs to, for the error.

    Raises:
        LabelError: train or validation is left without a label, or without any message.
    """
    excluded = set(ids)
    tables = {
        split: table[~table["id"].isin(excluded)].reset_index(drop=True) if split in LEARNED_FROM else table
        for split, table in splits.items()
    }
    held_out = {split: len(splits[split]) - len(tables[split]) for split in LEARNED_FROM}
    for split in LEARNED_FROM:
        lost = sorted(set(splits[split]["label"]) - set(tables[split]["label"]))
        if lost:
            raise LabelError(
                f"{split} has no message labelled {lost[0]!r} left without those of {name!r}'s frozen test set"
                f" ({held_out[split]} of its {len(splits[split])}): use the split.seed and fractions of the first run"
                " under that name, give more messages, or choose another registry.name"
            )
    counts = {
        "rows": {split: len(tables[split]) for split in SPLITS},
        "labels": {split: _counts(tables[split]["label"], report["labels"][split]) for split in SPLITS},
        "straddling": {**report["straddling"], "made": _straddling(tables)},
        "held_out": held_out,
    }
    return HeldOut(tables, {**report, **counts})


def _counts(labels: pd.Series, names: Iterable[str]) -> dict[str, int]:
    counts = Counter(labels)
    return {name: counts[name] for name in names}


def _straddling(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """Messages of validation and of test that still have a near-duplicate, or a copy, in train."""
    texts = pd.concat([tables[split]["text"] for split in SPLITS], ignore_index=True)
    split_of = np.repeat(np.arange(len(SPLITS)), [len(tables[split]) for split in SPLITS])
    return {"near_duplicates": straddling(texts.map(normalise), split_of), "copies": straddling(texts, split_of)}
