"""Splits entries into train, test and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.entries.split import split_entries as divide
from lib.data.tables import ENTRIES, load_table, save_table
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact


@step("split_entries", reads=["split"])
def split_entries(work: Work[InstructRecipe], entries: Artifact) -> None:
    """Splits the entries: a Parquet file for each split, `split.json` with counts and straddling duplicates."""
    settings = work.recipe.split
    splits = divide(
        load_table(entries.file("entries.parquet"), ENTRIES),
        train=settings.train,
        test=settings.test,
        shuffle=settings.shuffle,
        seed=settings.seed,
        group_duplicates=settings.group_duplicates,
    )
    for name, table in splits.tables().items():
        save_table(table, work.folder / f"{name}.parquet", ENTRIES)
    straddling = splits.report["straddling"]["made"]["near_duplicates"]
    if straddling["test"] or straddling["validation"]:
        work.warn(
            f"{straddling['test']:,} test and {straddling['validation']:,} validation entries ask what a training entry"
            " asks: split.group_duplicates keeps them apart"
        )
    save_json(splits.report, work.folder / "split.json")
