"""Parses the entries of the source files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.entries.files import save_entries
from lib.data.entries.reading import entries_in_words, joined, profile_entries, read_entries
from lib.data.entries.shapes import Columns
from lib.data.source.reader import How
from lib.data.tables import LEFT_OUT, save_table
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step
from tasks.steps.sources import fetched_files

if TYPE_CHECKING:
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact


@step(
    "entries",
    reads=[
        "data.format",
        "data.encoding",
        "data.separator",
        "data.quoting",
        "data.sheet",
        "data.columns",
        "data.empty_text",
        "data.bad_rows",
    ],
)
def entries(work: Work[InstructRecipe], download: Artifact) -> None:
    """Parses and checks the source files: `entries.parquet`, `left_out.parquet` with the reason for each entry that is
    in no split, and `profile.json` with what the entries are called, counts, lengths and duplicates."""
    data = work.recipe.data
    how = How(data.format, data.encoding, data.separator, data.quoting, data.sheet)
    columns = Columns(**data.columns.model_dump())
    read = joined(
        [
            read_entries(
                file.path,
                name=file.name,  # the original one, for errors
                how=how,
                columns=columns,
                empty_text=data.empty_text,
                bad_rows=data.bad_rows,
            )
            for file in fetched_files(download)["train"]
        ]
    )
    for warning in read.warnings:
        work.warn(warning)
    save_entries(read.table, work.folder / "entries.parquet")
    save_table(read.left_out, work.folder / "left_out.parquet", LEFT_OUT)
    profile = profile_entries(read)
    work.log.info("entries: %s", entries_in_words(profile))
    if profile["left_out"]:
        counts = ", ".join(f"{count:,} ({reason})" for reason, count in profile["left_out"].items())
        work.warn(f"entries were left out: {counts}; left_out.parquet of the step entries names them")
    alike = profile["near_duplicate_questions"]
    if alike:
        work.log.info("%s of %s entries ask what another one asks: split.group_duplicates", alike, profile["rows"])
    save_json(profile, work.folder / "profile.json")
