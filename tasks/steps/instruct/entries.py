"""Parses the entries of the source files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.entries.reading import joined, profile_entries, read_entries
from lib.data.tables import ENTRIES, save_table
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step
from tasks.steps.sources import fetched_files

if TYPE_CHECKING:
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact


@step("entries", reads=["data.empty_text"])
def entries(work: Work[InstructRecipe], download: Artifact) -> None:
    """Parses and checks the source files: `entries.parquet`, and `profile.json` with counts, lengths and duplicates."""
    files = fetched_files(download)["train"]
    table = joined([read_entries(each.path, name=each.name, empty_text=work.recipe.data.empty_text) for each in files])
    save_table(table, work.folder / "entries.parquet", ENTRIES)
    profile = profile_entries(table)
    alike = profile["near_duplicate_questions"]
    if alike:
        work.log.info("%s of %s entries ask what another one asks: split.group_duplicates", alike, profile["rows"])
    save_json(profile, work.folder / "profile.json")
