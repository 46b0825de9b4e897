"""Splits entries into train, test and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.entries.files import load_entries, save_entries
from lib.data.entries.split import split_entries as divide
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
        load_entries(entries.file("entries.parquet")),
        train=settings.train,
        test=settings.test,
        shuffle=settings.shuffle,
        seed=settings.seed,
        group_duplicates=settings.group_duplicates,
    )
    for name, table in splits.tables().items():
        save_entries(table, work.folder / f"{name}.parquet")
    straddling = splits.report["straddling"]["made"]["near_duplicates"]
    if straddling["test"] or straddling["validation"]:
        work.warn(
            f"{straddling['test']:,} test and {straddling['validation']:,} validation entries ask what a training entry"
            " asks: split.group_duplicates keeps them apart"
        )
    save_json(splits.report, work.folder / "split.json")
