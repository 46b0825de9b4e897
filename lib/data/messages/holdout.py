"""Holds a frozen test set out of the splits of later runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.data.duplicates import normalise
from lib.data.messages.split import label_counts, straddling
from lib.data.tables import SPLITS
from lib.errors import LabelError

LEARNED_FROM = ("train", "validation")  # validation may choose which weights are kept
NOTHING = "none"


@dataclass(frozen=True)
class HeldOut:
    """A split without held-out messages.

    tables: `train`, `validation` and `test` (id int64, text, label, target int64), rows in their order.
    report: as in `lib.data.messages.split.Splits`, recounted, with `held_out`: rows removed from `train` and
    `validation`.
    """

    tables: dict[str, pd.DataFrame]
    report: dict[str, Any]


def freezable(splits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Returns the test messages (id, text, label) without a near-duplicate in what the run learned from. With
    `split.group_duplicates` these are all of them; without, the classifier may know some test messages."""
    known = {normalise(text) for name in LEARNED_FROM for text in splits[name]["text"]}
    test = splits["test"]
    unknown = [normalise(text) not in known for text in test["text"]]
    return test.loc[unknown, ["id", "text", "label"]].reset_index(drop=True)


def ids_to_hold_out(splits: Mapping[str, pd.DataFrame], frozen: Iterable[str]) -> list[int]:
    """Returns the sorted ids of messages in train and validation that are near-duplicates of a text in `frozen`."""
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
    """Returns the cache key ingredient of held-out messages: a sha256 of their ids, or "none"."""
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest() if ids else NOTHING


def hold_out(
    splits: Mapping[str, pd.DataFrame], report: Mapping[str, Any], ids: Iterable[int], *, name: str
) -> HeldOut:
    """Removes the messages with these ids from train and validation, and recounts the split's `report`.

    name: the registered name that owns the frozen test set, for the error.

    Raises LabelError if train or validation loses all messages of a label.
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
        "labels": {split: label_counts(tables[split]["label"], report["labels"][split]) for split in SPLITS},
        "straddling": {**report["straddling"], "made": _straddling(tables)},
        "held_out": held_out,
    }
    return HeldOut(tables, {**report, **counts})


def _straddling(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """Counts messages of validation and test that still have a near-duplicate, or a copy, in train."""
    texts = pd.concat([tables[split]["text"] for split in SPLITS], ignore_index=True)
    split_of = np.repeat(np.arange(len(SPLITS)), [len(tables[split]) for split in SPLITS])
    return {"near_duplicates": straddling(texts.map(normalise), split_of), "copies": straddling(texts, split_of)}
