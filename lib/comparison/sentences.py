"""Says in plain sentences what a comparison found, for readers who know no statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lib.comparison.values import METRICS, SMALLER_IS_BETTER, Comparison, Row, written
from lib.errors import listed
from lib.evaluation.classify.report.parts import p_value
from lib.evaluation.classify.verdict import THAN

LONGEST_NAME = 60  # characters of a variant's name in a sentence or a table


def shown(name: str) -> str:
    """Returns a name on one line, or as much of it as there is room for."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _p(value: float) -> str:
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def sentences(comparison: Comparison) -> tuple[str, ...]:
    """Returns what there is to say, the choice first."""
    return tuple(_sentences(comparison))


def _sentences(comparison: Comparison) -> Iterator[str]:
    chosen, reference = comparison.chosen_row, comparison.reference_row
    candidates = [row for row in comparison.rows if row.candidate]
    measured = [row for row in candidates if row.value is not None]
    if chosen is None or reference is None:
        yield f"No variant is chosen, because none has a value of {METRICS[comparison.metric]}."
    else:
        yield _choice(chosen, len(measured), comparison)
        if chosen.name != reference.name:
            yield _against(chosen, reference, comparison)
        elif len(measured) > 1:
            yield _others([row for row in measured if row.name != reference.name])
    if reference is not None and reference.name != candidates[0].name:
        yield (
            f"The variants are compared with {shown(reference.name)}, because {shown(candidates[0].name)}, the first"
            f" one, {'was pruned' if candidates[0].state == 'pruned' else 'failed'}."
        )
    if len(measured) > 1:
        yield (
            f"The best of {len(measured)} on the same messages looks better than it is, because chance helped to choose"
            " it: what it is worth, the test split says."
        )
    if comparison.seed_share is not None:
        yield _seeds(comparison.seed_share, measured, comparison)
    for row in comparison.rows:
        if not row.candidate and row.value is not None and measured:
            yield _outsider(row, measured, comparison)
    yield from _unfinished(candidates)


def _choice(chosen: Row, measured: int, comparison: Comparison) -> str:
    between = ""
    if chosen.low is not None and chosen.high is not None:
        between = f" ({100 * comparison.confidence:g}% interval {chosen.low:.2%} to {chosen.high:.2%})"
    mean = f", the mean of {chosen.repeats} trainings" if chosen.repeats > 1 else ""
    best = f", the best of {measured}" if measured > 1 else ""
    return (
        f"{shown(chosen.name)} is chosen: its {METRICS[comparison.metric]} on {comparison.messages:,}"
        f" {comparison.measured_on} is {written(comparison.metric, chosen.value)}{between}{mean}{best}."
    )


def _against(chosen: Row, reference: Row, comparison: Comparison) -> str:
    tests = sum(row.p_value is not None for row in comparison.rows)
    corrected = f", corrected for {tests} comparisons" if tests > 1 else ""
    by_chance = _p(1.0 if chosen.adjusted is None else chosen.adjusted)
    share = written("accuracy", reference.accuracy)
    if comparison.metric == "accuracy":
        return f"It is {THAN[chosen.relation or 'level']} {shown(reference.name)} ({share}; {by_chance}{corrected})."
    return (
        f"By its right labels, {written('accuracy', chosen.accuracy)}, it is {THAN[chosen.relation or 'level']}"
        f" {shown(reference.name)}, {share} ({by_chance}{corrected})."
    )


def _others(others: Sequence[Row]) -> str:
    worse = sum(row.relation == "worse" for row in others)
    if not worse:
        none = "The other is not" if len(others) == 1 else f"None of the {len(others)} others is"
        return f"{none} worse beyond noise, so that a cheaper one may do as well."
    if len(others) == 1:
        return "The other is worse beyond noise."
    return f"Of the {len(others)} others {worse} {'is' if worse == 1 else 'are'} worse beyond noise."


def _seeds(share: float, measured: Sequence[Row], comparison: Comparison) -> str:
    trainings = sum(row.repeats for row in measured)
    squares = [row.deviation**2 for row in measured if row.deviation is not None]
    deviation = math.sqrt(math.fsum(squares) / len(squares)) if squares else 0.0
    moved = f"{100 * deviation:.2f} points" if comparison.metric == "accuracy" else f"{deviation:.4f}"
    return (
        f"The seed explains {share:.0%} of the variance between the {trainings} trainings, and the choice of a variant"
        f" the rest; it moves the {METRICS[comparison.metric]} by {moved} (one standard deviation)."
    )


def _outsider(row: Row, measured: Sequence[Row], comparison: Comparison) -> str:
    sign = -1 if comparison.metric in SMALLER_IS_BETTER else 1
    better = sum(sign * (each.value or 0.0) > sign * (row.value or 0.0) for each in measured)
    if len(measured) == 1:
        said = "and the variant is better" if better else "and the variant no better"
    else:
        every = "both" if len(measured) == 2 else f"all {len(measured)}"
        some = every if better == len(measured) else f"{better or 'none'} of the {len(measured)}"
        said = f"and {some} variants {'is' if better < 2 else 'are'} better"
    return f"{shown(row.name)}, which cannot be chosen, comes to {written(comparison.metric, row.value)}, {said}."


def _unfinished(candidates: Sequence[Row]) -> Iterator[str]:
    failed = [shown(row.name) for row in candidates if row.state == "failed"]
    pruned = sum(row.state == "pruned" for row in candidates)
    if failed:
        yield f"Of {len(candidates)} variants {len(failed)} failed: {listed(failed)}."
    if pruned:
        yield (
            f"Of {len(candidates)} variants {pruned} {'was' if pruned == 1 else 'were'} pruned: stopped early, because"
            f" {'it was' if pruned == 1 else 'they were'} behind the others."
        )
