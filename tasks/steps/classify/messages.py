"""Parses the messages of the source file, or of the files of given splits."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lib.cluster.cluster import Cluster, paired
from lib.data.messages.alike import find_alike
from lib.data.messages.checks import EXAMPLES, message_warnings
from lib.data.messages.files import SplitsRead, read_splits
from lib.data.messages.keys import keys_of
from lib.data.messages.labels import LabelRules
from lib.data.messages.one_hot import one_hot_warnings
from lib.data.messages.profile import Counted, profile_messages
from lib.data.messages.reading import read_messages
from lib.data.parts import FileWriter, Parts, PartsWriter
from lib.data.source.reader import How
from lib.data.tables import KEYED_MESSAGES, LEFT_OUT, LINES, SLICES, SPLITS
from lib.files.jsonfile import save_json
from lib.recipes.data import names_of_labels
from tasks.engine.cluster import computing
from tasks.engine.step import Work, step
from tasks.engine.tables import asking
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
    unkeyed=["cluster"],
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
        scratch=work.scratch,
        by_column=by.column is not None,
        split_names={f"{split}": values for split, values in (by.names or {}).items()} or None,
    )
    reasons = Counter[str]()
    with FileWriter(work.folder / "left_out.parquet", LEFT_OUT) as left_out:
        for rows in found.left_out():
            left_out.write(rows)
            reasons.update(rows.column("reason").to_pylist())
    with computing(work) as cluster:
        counted = _write_messages(found, work.folder, slices=work.recipe.evaluation.slices is not None, cluster=cluster)
    tables = {SPLITS.index(split): Parts(work.folder / TABLES[split], KEYED_MESSAGES) for split in found.splits}
    with asking(work) as queries:
        alike = find_alike(queries, tables, examples=EXAMPLES)
    warnings = [*found.warnings, *message_warnings(counted.labels, alike, reasons)]
    if found.labels == ("0", "1"):
        columns = {"text_column": data.text_column, "label_column": data.label_column}
        warnings += one_hot_warnings(files["train"][0], how, **columns)
    for sentence in warnings:
        work.warn(sentence)
    profile = profile_messages(counted, alike, reasons)
    save_json(profile | {"read_as": found.forms(), "warnings": warnings}, work.folder / "profile.json")
    save_json(found.files, work.folder / FILES)


def _write_messages(found: SplitsRead, folder: Path, *, slices: bool, cluster: Cluster) -> Counted:
    """Writes the messages of each split with their keys, which the cluster computes, their lines and their slices;
    returns what was counted."""
    counted = Counted()
    with ExitStack() as files:
        beside = [files.enter_context(FileWriter(folder / LINES_OF_MESSAGES, LINES))]
        if slices:
            beside.append(files.enter_context(FileWriter(folder / SLICES_FILE, SLICES)))
        for split in found.splits:
            with PartsWriter(folder / TABLES[split], KEYED_MESSAGES, labels=found.labels) as table:
                for rows, keys in paired(cluster, keys_of, found.messages(split), _texts):
                    table.write(pa.table([*rows.columns, *keys.columns], [*rows.schema.names, *keys.schema.names]))
                    for each in beside:
                        each.write(rows)
                    counted.add(rows)
    return counted


def _texts(messages: pa.RecordBatch) -> list[str]:
    texts: list[str] = messages.column("text").to_pylist()
    return texts
