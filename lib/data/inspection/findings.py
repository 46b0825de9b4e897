"""Says what labelled rows are like: their classes, what spoils training, and the fields of a recipe that trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.data.inspection.counting import Counts
from lib.data.inspection.labelled import Labelled
from lib.data.messages.alike import Alike
from lib.data.messages.checks import alike_in_memory, label_warnings, text_warnings
from lib.data.messages.labels import LabelRules, settle, spelling, trimmed
from lib.errors import LabelError

SPLITS = 3  # each needs a row of every label


@dataclass(frozen=True)
class Findings:
    """What was found in labelled rows.

    classes: rows by label, the most frequent first. empty_labels, unreadable: rows. of_all: whether these are of all
    rows; the rest is of those that were read. sentences: what is worth a look. refusal: why nothing can be trained on
    these rows, as a run says it. changes: dotted fields of a recipe, beside the columns, that such rows need.
    """

    classes: Mapping[str, int]
    empty_texts: int
    empty_labels: int
    unreadable: int
    of_all: bool
    alike: Alike
    sentences: Sequence[str] = ()
    refusal: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def find_in(rows: Labelled, counts: Counts | None, *, name: str, is_labelled: bool) -> Findings:
    """Looks at the rows that were read, and at the labels of all rows where they were counted.

    name: what sentences call the source.
    """
    classes, empty_labels, unreadable = _classes(rows, counts) if is_labelled else ({}, 0, len(rows.unreadable))
    alike = alike_in_memory(rows.texts, rows.labels, rows.numbers)
    drops = {"bad_rows": unreadable, "empty_text": rows.empty_texts, "empty_label": empty_labels}
    changes: dict[str, Any] = {f"data.{option}": "drop" for option, count in drops.items() if count}
    sentences = [*rows.warnings, *text_warnings(alike, len(rows.numbers))]
    of_all, refusal = counts is not None or rows.is_all, None
    if is_labelled:
        merged = spellings(classes)
        if merged:
            changes["data.labels"] = merged
            sentences.append(_on_spellings(merged, classes))
        if any(count < SPLITS for count in _merged(classes, merged).values()):
            changes["data.rare_labels"] = "drop"
        sentences += label_warnings(_merged(classes, merged))
        if of_all:
            refusal = _refusal(classes, merged, name)
        elif len(classes) == 1:
            sentences.append(f"all of the first {rows.rows:,} rows have one label: perhaps the file is sorted by it")
    return Findings(
        classes=classes,
        empty_texts=rows.empty_texts,
        empty_labels=empty_labels,
        unreadable=unreadable,
        of_all=of_all,
        alike=alike,
        sentences=sentences,
        refusal=refusal,
        changes=changes,
    )


def spellings(classes: Mapping[str, int]) -> dict[str, list[str]]:
    """Returns labels that differ only in case, spaces or the way a number is written, by the most frequent of each."""
    groups: dict[str, list[str]] = {}
    for label in classes:
        groups.setdefault(spelling(label), []).append(label)
    return {group[0]: group for group in groups.values() if len(group) > 1}


def _classes(rows: Labelled, counts: Counts | None) -> tuple[dict[str, int], int, int]:
    """Returns rows by label, and how many have none or cannot be read."""
    written = Counter(rows.every_label) if counts is None else counts.labels
    total: Counter[str] = Counter()
    for label, count in written.items():
        total[trimmed(label or "")] += count
    empty = total.pop("", 0)
    ordered = sorted(total, key=lambda label: (-total[label], label))
    unreadable = len(rows.unreadable) if counts is None else counts.unreadable
    return {label: total[label] for label in ordered}, empty, max(unreadable, len(rows.unreadable))


def _merged(classes: Mapping[str, int], merged: Mapping[str, Sequence[str]]) -> dict[str, int]:
    name_of = {label: name for name, group in merged.items() for label in group}
    total: Counter[str] = Counter()
    for label, count in classes.items():
        total[name_of.get(label, label)] += count
    return dict(total)


def _on_spellings(merged: Mapping[str, Sequence[str]], classes: Mapping[str, int]) -> str:
    groups = "; ".join(", ".join(f"{label!r} ({classes[label]:,})" for label in group) for group in merged.values())
    return f"labels that differ only in case, spaces or the way a number is written: {groups}; the command merges them"


def _refusal(classes: Mapping[str, int], merged: Mapping[str, Sequence[str]], name: str) -> str | None:
    rules = LabelRules(names=merged or None, rare="drop", rare_count=SPLITS)
    try:
        settle(classes, rules, where=name)
    except LabelError as error:
        return str(error)
    return None
