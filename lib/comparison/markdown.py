"""Writes a comparison as a Markdown table, for Prefect's page, MLflow's description and a terminal's pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lib.comparison.sentences import shown
from lib.comparison.story import Story
from lib.comparison.values import METRICS, Comparison, Metric, Row, written
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
from lib.evaluation.classify.report.parts import p_value
from lib.markdown import plain, table

MOST_ROWS = 40
LONGEST_REASON = 160  # characters of why a variant failed


def markdown(story: Story, most: int = MOST_ROWS) -> str:
    """Returns the table of variants, `most` at most, and how to read it."""
    comparison = story.comparison
    rows = comparison.first_rows(most)
    splits = published_splits(comparison)
    header = ["variant", f"{METRICS[comparison.metric]}{direction(comparison.metric)}", "difference", "p", "training"]
    header += ["trainable parameters", "memory", *(f"published, {plain(split)}" for split in splits)]
    lines = table(header, (list(_cells(row, comparison, splits)) for row in rows))
    return "\n".join([*lines, "", *_notes(comparison, len(comparison.rows) - len(rows))])


def published_splits(comparison: Comparison) -> list[str]:
    """Returns the splits of which there is a published figure, in order."""
    return list(dict.fromkeys(split for row in comparison.rows for split in row.published))


def _cells(row: Row, comparison: Comparison, splits: Sequence[str]) -> Iterator[str]:
    yield _name(row)
    yield _value(row, comparison.metric)
    yield difference_written(comparison.metric, row.difference)
    yield _p(row, comparison)
    yield seconds_written(row.seconds)
    yield count_written(row.trainable_parameters)
    yield bytes_written(row.peak_memory)
    for split in splits:
        yield written("accuracy", row.published.get(split))


def _name(row: Row) -> str:
    name, address = plain(shown(row.name)), web_address(row.link)
    linked = name if address is None else f"[{name}]({address})"
    return f"**{linked}** (chosen)" if row.chosen else linked


def _value(row: Row, metric: Metric) -> str:
    if row.value is None:
        reason = row.reason if len(row.reason) <= LONGEST_REASON else f"{row.reason[:LONGEST_REASON]}…"
        state = row.state if not row.repeats else "not measured"
        return f"{state}: {plain(reason)}" if reason else state
    repeats = f", {row.repeats} trainings" if row.repeats > 1 else ""
    if row.low is None or row.high is None:
        spread = "" if row.deviation is None else f" ± {row.deviation:.4f}"
        return f"{written(metric, row.value)}{spread}{repeats}"
    return f"{written(metric, row.value)} ({interval_written(metric, row.low, row.high)}{repeats})"


def _p(row: Row, comparison: Comparison) -> str:
    if row.adjusted is None:
        return "reference" if row.name == comparison.reference and len(comparison.rows) > 1 else NONE
    words = {"better": ", better", "worse": ", worse"}.get(row.relation or "", "")
    return f"{p_value(row.adjusted)}{words}"


def _notes(comparison: Comparison, left: int) -> Iterator[str]:
    if left:
        yield f"{left} more {'variant is' if left == 1 else 'variants are'} in the table beside the page."
        yield ""
    yield " ".join(how_to_read(comparison))


def how_to_read(comparison: Comparison) -> Iterator[str]:
    """Yields what a table of variants means by its intervals, differences and p-values."""
    if any(row.low is not None for row in comparison.rows):
        yield f"In brackets: {comparison.intervals}."
    if any(row.p_value is not None for row in comparison.rows):
        points = ", in points" if comparison.metric == "accuracy" else ""
        yield (
            f"Difference: from the reference{points}. p: how often the right labels of two equal variants would be as"
            " far apart by chance, corrected (Holm) for all comparisons with the reference."
        )
