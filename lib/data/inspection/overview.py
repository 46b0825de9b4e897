"""Finds out what a source is and which of its columns are which, from its first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib.data.entries.shapes import Columns, Shape, recognised
from lib.data.inspection.columns import ROWS, ColumnFacts, Role, Roles, describe, find_roles, has_header
from lib.data.inspection.part import beginning
from lib.data.source.columns import Column
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How, open_source, read
from lib.data.source.rows import Form, Source

START = 2**18  # bytes
TEXT, LABEL = "--data.text_column", "--data.label_column"
FOR_SHAPE = 100  # records, of which the first with known fields says that they are instructions


@dataclass(frozen=True)
class Overview:
    """What a source is.

    rows: those that were looked at. shape: how instructions are written, if that is what it holds.
    """

    form: Form
    rows: int
    columns: tuple[ColumnFacts, ...]
    roles: Roles
    shape: Shape | None


def look_over(file: DataFile, how: How, *, text: Column | None = None, label: Column | None = None) -> Overview:
    """Looks at the first rows. text, label: the columns that somebody said; instructions are then not looked for.

    Whether a table without a word about its columns has a header row is told by `has_header`.

    Raises MessagesError as a run does: for what is no data or cannot be read, and for a column that is not there.
    """
    start = beginning(file, START)
    asked = {flag: column for flag, column in ((TEXT, text), (LABEL, label)) if column is not None}
    source = open_source(start, how, asked)
    if asked:
        source.check(asked, [column for column in (text,) if column is not None])
    records = _first(source, start, how)
    facts = describe(source.form.columns, records)
    if not asked and source.form.header and not has_header(source.form.columns, facts, _values(source, records)):
        source = open_source(start, how, {TEXT: 0})
        records = _first(source, start, how)
        facts = describe(source.form.columns, records)
    shape = (
        None if asked else next(filter(None, (recognised(record, Columns()) for record in records[:FOR_SHAPE])), None)
    )
    roles = find_roles(facts, len(records), text=text, label=label)
    role_of: dict[Column | None, Role] = {roles.text: "text", roles.label: "label", roles.split: "split"}
    if shape is not None:
        role_of = dict.fromkeys(shape.fields, "entry")
    columns = tuple(replace(each, role=role_of.get(each.name)) for each in facts if str(each.name).strip())
    return Overview(source.form, len(records), columns, roles, shape)


def _first(source: Source, file: DataFile, how: How) -> list[Mapping[Any, Any]]:
    found: list[Mapping[Any, Any]] = []
    for batch in read(file, how, source.records()):
        found += [record for record in batch.records if record is not None]
        if len(found) >= ROWS:
            break
    return found[:ROWS]


def _values(source: Source, records: Sequence[Mapping[Any, Any]]) -> list[set[str]]:
    return [{str(record[column]) for record in records} for column in source.form.columns]
