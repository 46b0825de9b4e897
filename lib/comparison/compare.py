"""Compares variants on the same messages, and chooses one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lib.comparison.chance import Shares, interval, p_value, seed_share
from lib.comparison.sentences import sentences
from lib.comparison.values import SMALLER_IS_BETTER, Comparison, Measured, Metric, Row, Tried
from lib.evaluation.classify.verdict import relation
from lib.evaluation.significance import holm, mcnemar

DIGITS = 12  # of values and log losses: what differs later is rounding, and a tie


def compare(
    tried: Sequence[Tried], *, metric: Metric, confidence: float, measured_on: str = "validation messages"
) -> Comparison:
    """Returns the comparison of variants, in their order.

    The first candidate that has runs is the reference, which every other variant with runs is compared with by its
    right labels, whatever the metric: by McNemar's exact test where both were trained once, otherwise as
    `lib.comparison.chance.p_value` says. P-values are corrected (Holm) for all these comparisons; what is then at most
    1 - confidence is beyond noise.

    Chosen is the candidate with the best value; of equal ones that with the lower log loss, then with fewer trainable
    parameters, then the earlier one. Raises ValueError if not all runs have the same number of messages, if one has
    none, or if two variants have the same name.
    """
    names = [each.name for each in tried]
    if len(set(names)) < len(names):
        raise ValueError(f"two variants have the same name: {names}")
    lengths = {each.name: [len(run.right) for run in each.runs] for each in tried if each.runs}
    found = {length for of_runs in lengths.values() for length in of_runs} or {0}
    if len(found) > 1 or (lengths and 0 in found):
        raise ValueError(f"not the same messages, or none: {lengths}")
    shares = {each.name: Shares.of([run.right for run in each.runs]) for each in tried if each.runs}
    rows = [_measured(each, shares.get(each.name), metric, confidence) for each in tried]
    reference = next((row for row in rows if row.candidate and row.repeats), None)
    if reference is not None:
        rows = _compared(rows, reference, shares, confidence)
    chosen, front = _best(rows, metric), _front(rows, metric)
    comparison = Comparison(
        rows=tuple(replace(row, chosen=row.name == chosen, on_front=row.name in front) for row in rows),
        metric=metric,
        messages=found.pop(),
        confidence=confidence,
        measured_on=measured_on,
        reference=None if reference is None else reference.name,
        chosen=chosen,
        seed_share=seed_share([_values(each.runs, metric) for each in tried if each.candidate]),
        intervals=_intervals(rows, metric, confidence),
    )
    return replace(comparison, sentences=sentences(comparison))


def _measured(tried: Tried, shares: Shares | None, metric: Metric, confidence: float) -> Row:
    """Returns what a variant's own runs say."""
    runs = tried.runs
    row = Row(
        name=tried.name,
        changes=dict(tried.changes),
        state=tried.state,
        reason=tried.reason,
        link=tried.link,
        published=dict(tried.published),
        candidate=tried.candidate,
        repeats=len(runs),
    )
    if shares is None:
        return row
    values = shares.of_runs.tolist() if metric == "accuracy" else _values(runs, metric)
    low, high = interval(shares, confidence) if metric == "accuracy" else (None, None)
    return replace(
        row,
        value=shares.mean if metric == "accuracy" else _mean(values),
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        low=low,
        high=high,
        accuracy=shares.mean,
        log_loss=_mean(_values(runs, "log_loss")),
        seconds=_mean([run.seconds for run in runs if run.seconds is not None]),
        parameters=_largest(run.parameters for run in runs),
        trainable_parameters=_largest(run.trainable_parameters for run in runs),
        peak_memory=_largest(run.peak_memory for run in runs),
    )


def _values(runs: Sequence[Measured], metric: Metric) -> list[float]:
    """Returns the metric of each run; nothing where one lacks it."""
    values = [run.metrics.get(metric) for run in runs]
    measured = [float(value) for value in values if value is not None and math.isfinite(value)]
    return measured if len(measured) == len(values) else []


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _compared(rows: Sequence[Row], reference: Row, shares: Mapping[str, Shares], confidence: float) -> list[Row]:
    """Returns the rows with what sets them apart from the reference."""
    others = [row for row in rows if row.repeats and row.name != reference.name]
    tested = {row.name: _tested(row, shares[row.name], reference, shares[reference.name]) for row in others}
    adjusted = dict(zip(tested, holm([row.p_value for row in tested.values() if row.p_value is not None]), strict=True))
    significance = round(1 - confidence, DIGITS)
    return [
        replace(
            row,
            adjusted=(corrected := adjusted[row.name]),
            beyond_noise=corrected <= significance,
            relation=relation((row.accuracy or 0) - (reference.accuracy or 0), corrected, significance),
        )
        if row.name in adjusted
        else row
        for row in (tested.get(row.name, row) for row in rows)
    ]


def _tested(row: Row, ours: Shares, reference: Row, theirs: Shares) -> Row:
    difference = None if row.value is None or reference.value is None else row.value - reference.value
    if ours.runs > 1 or theirs.runs > 1:
        return replace(row, difference=difference, p_value=p_value(ours, theirs))
    wins = int((ours.of_messages > theirs.of_messages).sum())
    losses = int((ours.of_messages < theirs.of_messages).sum())
    return replace(row, difference=difference, wins=wins, losses=losses, p_value=mcnemar(wins, losses))


def _goodness(value: float, metric: Metric) -> float:
    """Returns the value, or its opposite where smaller is better."""
    return round(-value if metric in SMALLER_IS_BETTER else value, DIGITS)


def _best(rows: Sequence[Row], metric: Metric) -> str | None:
    """Returns the name of the one to choose."""

    def rank(place: int) -> tuple[float, float, float, int]:
        row = rows[place]
        loss = math.inf if row.log_loss is None else round(row.log_loss, DIGITS)
        trainable = math.inf if row.trainable_parameters is None else row.trainable_parameters
        return -_goodness(row.value or 0.0, metric), loss, trainable, place

    places = [place for place, row in enumerate(rows) if row.candidate and row.value is not None]
    return rows[min(places, key=rank)].name if places else None


def _front(rows: Sequence[Row], metric: Metric) -> set[str]:
    """Returns the names of those that no other one is as good and as fast as, and better in one of the two."""
    points = {
        row.name: (_goodness(row.value, metric), -row.seconds)
        for row in rows
        if row.value is not None and row.seconds is not None
    }
    return {
        name
        for name, (value, speed) in points.items()
        if not any(v >= value and s >= speed and (v, s) != (value, speed) for v, s in points.values())
    }


def _intervals(rows: Sequence[Row], metric: Metric, confidence: float) -> str:
    """Says in words what `low` and `high` of the rows are."""
    if metric != "accuracy":
        return "no intervals: they need more than whether each label is right"
    level = f"{100 * confidence:g}% intervals"
    if all(row.repeats <= 1 for row in rows):
        return f"{level} by Wilson's formula: what other messages would give"
    return (
        f"{level} by Wilson's formula for as many messages as vary as much: what other messages and other seeds would"
        " give, or other messages alone where a variant was trained once"
    )
