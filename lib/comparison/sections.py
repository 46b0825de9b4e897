"""The sections of a comparison's page that are tables and facts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup, escape

from lib.comparison.markdown import how_to_read, published_splits
from lib.comparison.sentences import shown
from lib.comparison.story import Searched, Story
from lib.comparison.values import METRICS, Comparison, Row, written
from lib.comparison.words import (
    NONE,
    bytes_written,
    count_written,
    difference_written,
    direction,
    interval_written,
    seconds_written,
    web_address,
)
from lib.evaluation.classify.report.parts import Cell, Facts, Part, Table, Text, cells, p_value

LONGEST_VALUE = 80  # characters of a field's value
RELATIONS = {"better": "better", "level": "no difference", "worse": "worse"}


def variants(comparison: Comparison) -> list[Part]:
    """Returns all variants with what they come to and what they cost, and how to read that."""
    splits = published_splits(comparison)
    metric = METRICS[comparison.metric]
    columns = ["variant", f"{metric}{direction(comparison.metric)}", "difference", "p", "training"]
    columns += ["trainable parameters", "peak memory", *(f"published, {split}" for split in splits)]
    rows = [list(_variant(row, comparison, splits)) for row in comparison.rows]
    notes = [Text(note.replace("In brackets", "Below a value"), note=True) for note in how_to_read(comparison)]
    return [Table(f"Variants by their {metric}", columns, rows, main=1), *notes]


def _variant(row: Row, comparison: Comparison, splits: Sequence[str]) -> Iterator[Cell]:
    metric = comparison.metric
    yield Cell(_linked(row))
    yield Cell(written(metric, row.value), _spread(row, comparison)) if row.value is not None else Cell(state_of(row))
    is_reference = row.name == comparison.reference and len(comparison.rows) > 1
    yield Cell(difference_written(metric, row.difference), "reference" if is_reference else "")
    yield Cell(NONE if row.adjusted is None else p_value(row.adjusted), RELATIONS.get(row.relation or "", ""))
    yield Cell(seconds_written(row.seconds), "best for its time" if row.on_front else "")
    of_all = "" if row.parameters is None else f"of {count_written(row.parameters)}"
    yield Cell(count_written(row.trainable_parameters), of_all)
    yield Cell(bytes_written(row.peak_memory))
    for split in splits:
        yield Cell(written("accuracy", row.published.get(split)))


def _linked(row: Row) -> str:
    """Returns the name, with a link to its page, and a word if it is the chosen one."""
    name, address = shown(row.name), web_address(row.link)
    linked = escape(name) if address is None else Markup('<a href="{}">{}</a>').format(address, name)
    return linked + " (chosen)" if row.chosen else linked


def _spread(row: Row, comparison: Comparison) -> str:
    parts = []
    if row.low is not None and row.high is not None:
        parts.append(interval_written(comparison.metric, row.low, row.high))
    if row.deviation is not None:
        deviation = f"{100 * row.deviation:.2f}" if comparison.metric == "accuracy" else f"{row.deviation:.4f}"
        parts.append(f"±{deviation} in {row.repeats}")
    return ", ".join(parts)


def state_of(row: Row) -> str:
    """Says why a variant has no value."""
    return row.state if not row.repeats else "not measured"


def changes(comparison: Comparison) -> list[Part]:
    """Returns the fields in which the variants differ."""
    fields = list(dict.fromkeys(field for row in comparison.rows for field in row.changes))
    if not fields:
        return []
    rows = [
        cells(shown(row.name), *(_set_to(row.changes[field]) if field in row.changes else NONE for field in fields))
        for row in comparison.rows
        if row.candidate
    ]
    words = frozenset(range(1, len(fields) + 1))
    return [
        Table("Fields that each variant sets", ["variant", *map(shown, fields)], rows, words=words),
        Text(f"{NONE}: as the recipe has it.", note=True),
    ]


def _set_to(value: Any) -> str:
    """Writes a field's value as it stands in a recipe."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def unfinished(comparison: Comparison) -> list[Part]:
    """Returns the variants that have no value, with the reasons."""
    rows = [cells(shown(row.name), state_of(row), row.reason or NONE) for row in comparison.rows if row.value is None]
    columns = ["variant", "what became of it", "why"]
    return [Table("Variants without a value", columns, rows, words=frozenset({1, 2}))] if rows else []


def searched(search: Searched) -> list[Part]:
    """Returns how long was searched, and the best values that were found."""
    pruned = f"{search.trials:,}, of which {search.pruned:,} {'was' if search.pruned == 1 else 'were'} pruned"
    found = [("trials", pruned), ("time", seconds_written(search.seconds))]
    return [Facts([*found, *((field, _set_to(value)) for field, value in search.best.items())])]


def facts(story: Story) -> Iterator[tuple[str, str]]:
    """Yields what was compared, and how."""
    comparison = story.comparison
    candidates = [row for row in comparison.rows if row.candidate]
    trainings = sum(row.repeats for row in candidates)
    cached = sum(row.state == "cached" for row in candidates)
    others = "".join(f", beside {shown(row.name)}" for row in comparison.rows if not row.candidate)
    yield "recipe", story.base
    yield "chosen by", f"{METRICS[comparison.metric]}{direction(comparison.metric)}"
    yield "compared on", f"{comparison.messages:,} {comparison.measured_on}"
    yield "variants", f"{len(candidates):,}, with {trainings:,} trainings in all{others}"
    if cached:
        yield "in the store already", f"{cached:,} variants"
    yield "at the same time", f"{story.parallel:,}"
    yield "time", seconds_written(story.seconds)
