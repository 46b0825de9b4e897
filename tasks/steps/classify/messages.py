"""Parses the messages of the source file, or of the files of given splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from lib.data.messages.checks import check_messages
from lib.data.messages.files import read_splits
from lib.data.messages.keys import keys_of
from lib.data.messages.labels import LabelRules
from lib.data.messages.one_hot import one_hot_warnings
from lib.data.messages.profile import profile_messages
from lib.data.messages.reading import read_messages
from lib.data.parts import save_parts
from lib.data.source.reader import How
from lib.data.tables import KEYED_MESSAGES, SLICES, save_table, write_table
from lib.files.jsonfile import save_json
from lib.recipes.data import names_of_labels
from tasks.engine.step import Work, step
from tasks.steps.sources import fetched_files

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact

FILES = "files.json"  # of each file its name, its split, how many rows it has and how it is written
LINES_OF_MESSAGES = "lines.parquet"
SLICES_FILE = "slices.parquet"
TABLES = {"train": "messages", "validation": "validation", "test": "test"}  # in parts


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
        "data.empty_label",
        "data.bad_rows",
        "data.labels",
        "data.rare_labels",
        "data.rare_label_rows",
        "data.rare_label_name",
        "split.column",
        "split.names",
        "evaluation.slices",
    ],
    # Of what the profile says the tables decide all that later steps read; the files are named. The slices are read by
    # the evaluation alone, whose key has them: naming another column does not train again.
    noted=["profile.json", FILES, LINES_OF_MESSAGES, SLICES_FILE],
)
def messages(work: Work[ClassifyRecipe], download: Artifact) -> None:
    """Parses and checks the source: `messages`, which is balanced and split; `validation` and `test`
    where they are given; `left_out.parquet`, the rows that are no messages, with the reasons; and
    `profile.json` with counts and lengths of all messages, what was found in them, and how the files are written;
    `files.json`, that for each; `lines.parquet`, the line of each message; and `slices.parquet`, its value in the
    column that the evaluation is to look at."""
    data, by = work.recipe.data, work.recipe.split
    how = How(data.format, data.encoding, data.separator, data.quoting, data.sheet)
    files = fetched_files(download)
    found = read_splits(
        files,
        lambda file: read_messages(
            file,
            how,
            text_column=data.text_column,
            label_column=data.label_column,
            split_column=by.column,
            slice_column=work.recipe.evaluation.slices,
            empty_text=data.empty_text,
            empty_label=data.empty_label,
            bad_rows=data.bad_rows,
        ),
        rules=lambda splits: LabelRules(
            names_of_labels(data.labels), data.rare_labels, data.rare_label_rows or splits, data.rare_label_name
        ),
        by_column=by.column is not None,
        split_names={f"{split}": values for split, values in (by.names or {}).items()} or None,
    )
    for split, table in found.splits.items():
        keyed = table.join(keys_of(table["text"]).to_pandas())
        save_parts(keyed, work.folder / TABLES[split], KEYED_MESSAGES, labels=found.labels)
    write_table(found.left_out, work.folder / "left_out.parquet")
    write_table(found.lines, work.folder / LINES_OF_MESSAGES)
    whole = pd.concat(found.splits.values())
    if "slice" in whole:
        save_table(whole.rename(columns={"slice": "value"}), work.folder / SLICES_FILE, SLICES)
    repeated, warnings = check_messages(whole, found.reasons)
    warnings = [*found.warnings, *warnings]
    if found.labels == ("0", "1"):
        columns = {"text_column": data.text_column, "label_column": data.label_column}
        warnings += one_hot_warnings(files["train"][0], how, **columns)
    for sentence in warnings:
        work.warn(sentence)
    profile = profile_messages(whole, repeated, found.reasons)
    save_json(profile | {"read_as": found.forms(), "warnings": warnings}, work.folder / "profile.json")
    save_json(found.files, work.folder / FILES)
