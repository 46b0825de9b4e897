"""Parses the messages of the source file, or of the files of given splits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lib.data.messages.files import SourceFile, joined, read_splits
from lib.data.messages.reading import profile_messages, read_messages
from lib.data.tables import MESSAGES, save_table
from lib.files.jsonfile import load_json, save_json
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact

TABLES = {"train": "messages.parquet", "validation": "validation.parquet", "test": "test.parquet"}


@step(
    "messages",
    reads=["data.format", "data.text_column", "data.label_column", "data.quoting", "data.empty_text"],
)
def messages(work: Work[ClassifyRecipe], download: Artifact) -> None:
    """Parses and checks the source: `messages.parquet`, which is balanced and split; `validation.parquet` and
    `test.parquet` where they are given; and `profile.json` with counts and lengths of all messages."""
    data = work.recipe.data
    splits = read_splits(
        _files(download),
        lambda file, name: read_messages(
            file,
            name=name,
            format=data.format,
            text_column=data.text_column,
            label_column=data.label_column,
            quoting=data.quoting,
            empty_text=data.empty_text,
        ),
    )
    for split, table in splits.items():
        save_table(table, work.folder / TABLES[split], MESSAGES)
    save_json(profile_messages(joined(list(splits.values()))), work.folder / "profile.json")


def _files(download: Artifact) -> dict[str, list[SourceFile]]:
    """Returns the files of each split; errors call a file by its original name, or by its address where two have the
    same name. What is to be divided is all in train."""
    sources = load_json(download.file("source.json"))
    places = {path.stem: path for path in download.file("data").iterdir()}
    named = Counter(source["name"] for source in sources.values())
    files: dict[str, list[SourceFile]] = {}
    for key, source in sources.items():
        split = "train" if key == "source" else key.partition("-")[0]
        name = source["name"] if named[source["name"]] == 1 else source["address"]
        files.setdefault(split, []).append(SourceFile(places[key], name))
    return files
