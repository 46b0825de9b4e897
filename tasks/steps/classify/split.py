"""Splits messages into train, validation and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.messages.split import split_messages
from lib.data.tables import MESSAGES, SPLIT, load_table, save_table
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step(
    "split",
    reads=["split.train", "split.validation", "split.test", "split.seed", "split.stratify", "split.group_duplicates"],
)
def split(work: Work[ClassifyRecipe], messages: Artifact, balance: Artifact) -> None:
    """Splits the messages, but for given splits: a Parquet file for each split, `split.json` with counts and straddling
    duplicates."""
    fractions = work.recipe.split
    given = {
        name: load_table(file, MESSAGES)
        for name in ("validation", "test")
        if (file := messages.file(f"{name}.parquet")).exists()
    }
    splits = split_messages(
        load_table(balance.file("balanced.parquet"), MESSAGES),
        train=fractions.train,
        validation=fractions.validation,
        test=fractions.test,
        seed=fractions.seed,
        stratify=fractions.stratify,
        group_duplicates=fractions.group_duplicates,
        given=given,
    )
    known = splits.report["straddling"]["made"]["near_duplicates"]
    for name in given:
        if known[name]:
            work.warn(
                f"{known[name]:,} of the {len(given[name]):,} messages of the given {name} split have a near-duplicate"
                " in train, which stays: given splits are not changed"
            )
    for name, table in splits.tables().items():
        save_table(table, work.folder / f"{name}.parquet", SPLIT, labels=splits.labels)
    save_json(splits.report, work.folder / "split.json")
