"""Parses the messages of the source file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.messages.reading import profile_messages, read_messages
from lib.data.tables import MESSAGES, save_table
from lib.files.jsonfile import load_json, save_json
from lib.text.gpt2 import load_encoding
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step(
    "messages",
    reads=["data.format", "data.text_column", "data.label_column", "data.quoting", "data.empty_text", "encoding.name"],
)
def messages(work: Work[ClassifyRecipe], download: Artifact) -> None:
    """Parses and checks the source file: `messages.parquet`, and `profile.json` with counts and lengths."""
    (file,) = download.file("data").glob("source*")
    data = work.recipe.data
    table = read_messages(
        file,
        name=load_json(download.file("source.json"))["name"],  # the original name, for errors
        format=data.format,
        text_column=data.text_column,
        label_column=data.label_column,
        quoting=data.quoting,
        empty_text=data.empty_text,
    )
    save_table(table, work.folder / "messages.parquet", MESSAGES)
    profile = profile_messages(table, encoding=load_encoding(work.recipe.encoding.name))
    save_json(profile, work.folder / "profile.json")
