"""Splits messages into train, validation and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.messages.split import split_messages
from lib.data.parts import Parts, load_parts, save_parts
from lib.data.tables import KEYED_MESSAGES, KEYED_SPLIT, MESSAGES
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step(
    "split",
    reads=[
        *("split.train", "split.validation", "split.test", "split.seed", "split.stratify", "split.group_duplicates"),
        "split.near_duplicates",
    ],
)
def split(work: Work[ClassifyRecipe], messages: Artifact, balance: Artifact) -> None:
    """Splits the messages, but for given splits: the parts of each split, `split.json` with counts and straddling
    duplicates."""
    fractions = work.recipe.split
    given = {
        name: load_parts(place, KEYED_MESSAGES)
        for name in ("validation", "test")
        if (place := messages.file(name)).exists()
    }
    splits = split_messages(
        load_parts(balance.file("balanced"), KEYED_MESSAGES),
        train=fractions.train,
        validation=fractions.validation,
        test=fractions.test,
        seed=fractions.seed,
        stratify=fractions.stratify,
        group_duplicates=fractions.group_duplicates,
        labels=Parts(messages.file("messages"), MESSAGES).labels,
        given=given,
        near_duplicates=fractions.near_duplicates,
    )
    known = splits.report["straddling"]["made"]["near_duplicates"]
    for name in given:
        if known[name]:
            work.warn(
                f"{known[name]:,} of the {len(given[name]):,} messages of the given {name} split have a near-duplicate"
                " in train, which stays: split.near_duplicates drop_from_train takes it out of train"
            )
    if dropped := splits.report["dropped_from_train"]:
        many = "s are" if dropped != 1 else " is"
        they = "they have" if dropped != 1 else "it has"
        work.warn(f"{dropped:,} message{many} left out of train: {they} a near-duplicate in a given split")
    for name, table in splits.tables().items():
        save_parts(table, work.folder / name, KEYED_SPLIT, labels=splits.labels)
    save_json(splits.report, work.folder / "split.json")
