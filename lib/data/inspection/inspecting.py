"""Inspects a source: what it is, what its rows are like, and what a recipe must say to train on it.

found = inspect_source([DataFile(path, "mine.csv")], How())

A long file is not read to its end: what takes time is told of its first rows, and how many those are is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lib.data.inspection.columns import lists_of_labels
from lib.data.inspection.counting import Counts, count_labels
from lib.data.inspection.findings import Findings, find_in
from lib.data.inspection.instructions import Instructions, read_instructions
from lib.data.inspection.labelled import Labelled, LeftOut, read_labelled, refuse
from lib.data.inspection.overview import LABEL, START, TEXT, Overview, look_over
from lib.data.inspection.part import beginning
from lib.data.source.columns import Column
from lib.data.source.compressed import compression_of
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How, open_source
from lib.data.source.rows import Form
from lib.errors import MessagesError, listed

Kind = Literal["labelled texts", "texts", "instructions", "columns"]
MOST_FILES = 50  # that are looked at one by one


@dataclass(frozen=True)
class Origin:
    """Where data came from. name: what sentences call it; files: how many; size: their bytes, as they lie there;
    compression: that of the first."""

    name: str
    files: int
    size: int
    compression: str | None


@dataclass(frozen=True)
class Inspected:
    """What a source is like.

    kind: `columns` is a table in which nothing looks like texts. rows: all rows, if they were counted; read: those that
    were read. texts: of these, for counting tokens. left_out: rows that cannot be used, with the reason; of those that
    were read. refusal: why no run trains on it, as a run says it. changes: dotted fields of the recipe that does.
    """

    origin: Origin
    overview: Overview
    kind: Kind
    form: Form
    rows: int | None
    read: int
    refusal: str | None
    texts: Sequence[str] = ()
    left_out: Sequence[LeftOut] = ()
    findings: Findings | None = None
    instructions: Instructions | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def require_trainable(self) -> None:
        """Raises MessagesError if no recipe trains on this."""
        if self.refusal is not None:
            raise MessagesError(self.refusal)


def inspect_source(
    files: Sequence[DataFile], how: How, *, text: Column | None = None, label: Column | None = None
) -> Inspected:
    """Inspects the files of a source, which are one data set.

    text, label: the columns, if somebody says them; others are found by `lib.data.inspection.columns`.

    Raises MessagesError and ExtraError as a run does.
    """
    overview = look_over(files[0], how, text=text, label=label)
    origin = Origin(
        name=files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1:,} more",
        files=len(files),
        size=sum(file.path.stat().st_size for file in files),
        compression=compression_of(files[0].path),
    )
    if overview.shape is not None:
        return _instructions(origin, overview, read_instructions(files, how, overview.shape))
    roles = overview.roles
    if not overview.rows:
        refuse(files[0], how, text=next(iter(overview.form.columns), "text"), label=None)
    if roles.text is None:
        refusal = f"{origin.name}: no column looks like texts: name it with --data.text_column"
        return Inspected(origin, overview, "columns", overview.form, None, overview.rows, refusal)
    columns = {flag: column for flag, column in ((TEXT, roles.text), (LABEL, roles.label)) if column is not None}
    for file in files[1:MOST_FILES]:
        open_source(beginning(file, START), how, columns).check(columns, [roles.text])
    rows = read_labelled(files, how, text=roles.text, label=roles.label)
    if len(rows.unreadable) > rows.rows / 2:
        bad = next(file for file in files if file.name == rows.unreadable[0].file)
        refuse(bad, how, text=roles.text, label=roles.label)
    return _labelled(origin, overview, rows, _counted(files, rows, roles.label))


def _counted(files: Sequence[DataFile], rows: Labelled, label: Column | None) -> Counts | None:
    """Counts the labels of all rows where not all of them were read."""
    if rows.is_all or rows.form is None or label is None or len(files) > MOST_FILES:
        return None
    labels, unreadable, first = Counter[str | None](), 0, rows.every_label
    for file in files:
        counts = count_labels(file, rows.form, label, first)
        if counts is None:
            return None
        labels += counts.labels
        unreadable, first = unreadable + counts.unreadable, first[counts.labels.total() :]
    return Counts(labels, unreadable)


def _labelled(origin: Origin, overview: Overview, rows: Labelled, counts: Counts | None) -> Inspected:
    roles, is_labelled = overview.roles, overview.roles.label is not None
    findings = find_in(rows, counts, name=origin.name, is_labelled=is_labelled)
    changes: dict[str, Any] = {}
    if is_labelled:
        changes = {"data.text_column": roles.text, "data.label_column": roles.label, **findings.changes}
        if roles.split is not None:
            changes["split.column"] = roles.split
    return Inspected(
        origin=origin,
        overview=overview,
        kind="labelled texts" if is_labelled else "texts",
        form=rows.form or overview.form,
        rows=rows.rows if rows.is_all else counts.rows if counts else None,
        read=rows.rows,
        refusal=findings.refusal if is_labelled else f"{origin.name}: {_without_labels(overview)}",
        texts=rows.texts,
        left_out=rows.unreadable,
        findings=findings,
        changes=changes,
    )


def _without_labels(overview: Overview) -> str:
    several = lists_of_labels(overview.columns)
    if several is not None:
        return f"column {several!r} holds lists or objects, and one label a text is what is learned here"
    names = listed(repr(column.name) for column in overview.columns)
    return f"no column looks like labels: name it with --data.label_column, one of {names}"


def _instructions(origin: Origin, overview: Overview, found: Instructions) -> Inspected:
    drops = {"bad_rows": found.unreadable, "empty_text": found.empty}
    refusal = found.refusal
    if refusal is None and not found.texts:
        refusal = f"{origin.name}: no entry has anything to learn: is it the right file?"
    return Inspected(
        origin=origin,
        overview=overview,
        kind="instructions",
        form=found.form,
        rows=found.rows if found.is_all else None,
        read=found.rows,
        refusal=refusal,
        texts=found.texts,
        left_out=sorted([*found.refused, *found.unreadable, *found.empty], key=lambda row: row.row),
        instructions=found,
        changes={f"data.{name}": "drop" for name, rows in drops.items() if rows},
    )
