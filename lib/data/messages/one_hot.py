"""Tells whether a column of 0 and 1 is one of several that stand for a label each, of which a text may have more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.data.source.columns import Column
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How, open_source, read
from lib.errors import listed

FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def one_hot_warnings(file: DataFile, how: How, *, text_column: Column, label_column: Column) -> list[str]:
    """Looks at the first rows of a file; returns a sentence if, besides that of the labels, two columns or more hold 0
    and 1, and every row has a 1 in one of them. Files without a header row are not looked at."""
    if isinstance(label_column, int):
        return []
    source = open_source(file, how, {"--data.text_column": text_column, "--data.label_column": label_column})
    first = next(read(file, how, source.records()), None)
    rows = [record for record in (first.records if first else ()) if isinstance(record, Mapping)]
    flags = {name: [_flag(row.get(name)) for row in rows] for name in (rows[0] if rows else ())}
    columns = {name: values for name, values in flags.items() if None not in values}
    others = [name for name in columns if name != label_column]
    if label_column not in columns or len(others) < 2 or not all(map(any, zip(*columns.values(), strict=True))):
        return []
    return [
        f"{file.name}: {listed(map(repr, others))} hold 0 and 1, as {label_column!r} does: if each stands for a label,"
        f" make one column of labels of them; one label a text is what is learned here, and now only {label_column!r}"
        " or not"
    ]


def _flag(value: Any) -> int | None:
    return FLAGS.get(str(value).strip().casefold())
