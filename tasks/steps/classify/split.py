"""Splits messages into train, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib.data.messages.hashed import split_by_hash
from lib.data.messages.split import split_messages
from lib.data.parts import Parts, save_rows
from lib.data.tables import KEYED_MESSAGES, KEYED_SPLIT, KEYS
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step
from tasks.engine.tables import asking

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step(
    "split",
    reads=[
        *("split.method", "split.train", "split.validation", "split.test", "split.seed", "split.stratify"),
        *("split.group_duplicates", "split.near_duplicates"),
    ],
)
def split(work: Work[ClassifyRecipe], messages: Artifact, balance: Artifact) -> None:
    """Splits the messages, but for given splits: the parts of each split, `split.json` with counts and straddling
    duplicates."""
    divided = Parts(balance.file("balanced"), KEYED_MESSAGES)
    labels = Parts(messages.file("messages"), KEYED_MESSAGES).labels
    given = {
        name: Parts(place, KEYED_MESSAGES) for name in ("validation", "test") if (place := messages.file(name)).exists()
    }
    by = _split_by_hash if work.recipe.split.method == "hashed" else _split_as_published
    report = by(work, divided, given, labels)
    known = report["straddling"]["made"]["near_duplicates"]
    for name in given:
        if known[name]:
            work.warn(
                f"{known[name]:,} of the {len(given[name]):,} messages of the given {name} split have a near-duplicate"
                " in train, which stays: split.near_duplicates drop_from_train takes it out of train"
            )
    if dropped := report["dropped_from_train"]:
        many = "s are" if dropped != 1 else " is"
        they = "they have" if dropped != 1 else "it has"
        work.warn(f"{dropped:,} message{many} left out of train: {they} a near-duplicate in a given split")
    save_json(report, work.folder / "split.json")


def _split_by_hash(
    work: Work[ClassifyRecipe], divided: Parts, given: Mapping[str, Parts], labels: tuple[str, ...]
) -> dict[str, Any]:
    by = work.recipe.split
    with asking(work) as queries:
        return split_by_hash(
            divided,
            work.folder,
            queries,
            work.scratch,
            fractions={"train": by.train, "validation": by.validation, "test": by.test},
            seed=by.seed,
            labels=labels,
            given=given,
            near_duplicates=by.near_duplicates,
        )


def _split_as_published(
    work: Work[ClassifyRecipe], divided: Parts, given: Mapping[str, Parts], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Divides rows that have no texts, and then writes them with their texts."""
    by = work.recipe.split
    splits = split_messages(
        _without_texts(divided),
        train=by.train,
        validation=by.validation,
        test=by.test,
        seed=by.seed,
        stratify=by.stratify,
        group_duplicates=by.group_duplicates,
        labels=labels,
        given={name: _without_texts(table) for name, table in given.items()},
        near_duplicates=by.near_duplicates,
    )
    for name, rows in splits.tables().items():
        save_rows(
            given.get(name, divided),
            rows["row"].to_numpy(),
            work.folder / name,
            KEYED_SPLIT,
            labels=labels,
            more={"target": rows["target"].to_numpy()},
        )
    return splits.report


def _without_texts(table: Parts) -> pd.DataFrame:
    """Returns the ids, labels and keys of a table, and the position of each row."""
    return table.frame(["id", "label", *KEYS.names]).assign(row=np.arange(len(table)))
