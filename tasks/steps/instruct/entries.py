"""Parses the entries of the source file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.entries.reading import profile_entries, read_entries
from lib.data.tables import ENTRIES, save_table
from lib.files.jsonfile import load_json, save_json
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact


@step("entries", reads=["data.empty_text"])
def entries(work: Work[InstructRecipe], download: Artifact) -> None:
    """Parses and checks the source file: `entries.parquet`, and `profile.json` with counts, lengths and duplicates."""
    table = read_entries(
        download.file("data/source"),
        name=load_json(download.file("source.json"))["source"]["name"],  # the original name, for errors
        empty_text=work.recipe.data.empty_text,
    )
    save_table(table, work.folder / "entries.parquet", ENTRIES)
    profile = profile_entries(table)
    alike = profile["near_duplicate_questions"]
    if alike:
        work.log.info("%s of %s entries ask what another one asks: split.group_duplicates", alike, profile["rows"])
    save_json(profile, work.folder / "profile.json")
