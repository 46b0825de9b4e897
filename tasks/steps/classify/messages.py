"""Parses the messages of the source file, or of the files of given splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.messages.files import joined, read_splits
from lib.data.messages.reading import profile_messages, read_messages
from lib.data.source.reader import How
from lib.data.tables import MESSAGES, save_table, write_table
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step
from tasks.steps.sources import fetched_files

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact

TABLES = {"train": "messages.parquet", "validation": "validation.parquet", "test": "test.parquet"}


@step(
    "messages",
    reads=[
        "data.format",
        "data.encoding",
        "data.separator",
        "data.quoting",
        "data.sheet",
        "data.text_column",
        "data.label_column",
        "data.empty_text",
        "data.bad_rows",
    ],
    noted=["files.json"],  # by what names
)
def messages(work: Work[ClassifyRecipe], download: Artifact) -> None:
    """Parses and checks the source: `messages.parquet`, which is balanced and split; `validation.parquet` and
    `test.parquet` where they are given; `left_out.parquet`, the rows that are no messages, with the reasons; and
    `profile.json` with counts and lengths of all messages, and how the files are written; and `files.json`, that for
    each."""
    data = work.recipe.data
    how = How(data.format, data.encoding, data.separator, data.quoting, data.sheet)
    found = read_splits(
        fetched_files(download),
        lambda file: read_messages(
            file,
            how,
            text_column=data.text_column,
            label_column=data.label_column,
            empty_text=data.empty_text,
            bad_rows=data.bad_rows,
        ),
    )
    for split, table in found.splits.items():
        save_table(table, work.folder / TABLES[split], MESSAGES)
    write_table(found.left_out, work.folder / "left_out.parquet")
    for warning in found.warnings:
        work.warn(warning)
    profile = profile_messages(joined(list(found.splits.values())))
    save_json(profile | {"read_as": found.forms()}, work.folder / "profile.json")
    save_json(found.files, work.folder / "files.json")
