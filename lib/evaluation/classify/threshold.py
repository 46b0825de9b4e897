"""Chooses the threshold of the positive label on validation messages, for a stated goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError
from lib.evaluation.significance import wilson_interval
from lib.model.labels import MOST_PROBABLE, require_both

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Goal:
    """What a threshold is chosen for.

    measure: `f1` is made as large as possible; `false_positive_rate` stays at most `largest`, with as many positive
    messages found as possible; `cost` is made as small as possible, where each message that wrongly gets the positive
    label costs `false_positive`, and each that wrongly does not costs `false_negative`.
    """

    measure: Literal["f1", "false_positive_rate", "cost"] = "f1"
    largest: float = 0.01
    false_positive: float = 1.0
    false_negative: float = 1.0

    @property
    def in_words(self) -> str:
        """What it is, for pages and messages."""
        if self.measure == "f1":
            return "the largest F1"
        if self.measure == "cost":
            return (
                f"the least cost ({self.false_positive:g} a false positive, {self.false_negative:g} a false negative)"
            )
        return f"the largest recall at a false-positive rate of at most {self.largest:.2%}"


F1 = Goal()


@dataclass(frozen=True)
class Threshold:
    """A threshold, and what it gives on the messages that it was chosen on.

    false_positive_interval: Wilson's. cost: by the goal's costs, per message. All but the interval are optimistic,
    because these are the messages that it was chosen on.
    """

    value: float
    rows: int
    precision: float
    recall: float
    f1: float
    false_positive_rate: float
    false_positive_interval: tuple[float, float]
    cost: float


@dataclass(frozen=True)
class Trade:
    """What each threshold gives: (thresholds,) each, from the highest down.

    Thresholds lie halfway between the scores of neighbouring messages, so that neither is decided by rounding. All lie
    between 0 and 1: nothing tells a message with a score of 1 from one that is to get the label.
    """

    thresholds: Floats
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]


def choose_threshold(
    positives: NDArray[np.bool_], scores: Floats, goal: Goal, *, confidence: float = 0.95
) -> Threshold:
    """Returns the threshold that serves `goal` best; of several, the one nearest to 0.5.

    Args:
        positives: whether each validation message has the positive label (rows,).
        scores: its probability of the positive label (rows,).

    Raises LabelError unless there are messages with and without the positive label, and if no threshold keeps to the
    goal's false-positive rate.
    """
    require_both(positives.astype(np.int64))
    with_it, without = int(positives.sum()), int((~positives).sum())
    trade = trade_offs(positives, scores)
    found, wrong, missed = trade.true_positives, trade.false_positives, with_it - trade.true_positives
    if goal.measure == "f1":
        worth = 2 * found / (2 * found + wrong + missed)
    elif goal.measure == "cost":
        worth = -(goal.false_positive * wrong + goal.false_negative * missed) / len(positives)
    else:
        allowed = wrong <= goal.largest * without * (1 + 1e-12)
        if not allowed.any():
            raise LabelError(
                f"evaluation.largest_false_positive_rate is {goal.largest:g}, but {int(wrong[0])} of the {without}"
                " validation messages without the positive label have it with a probability of 1, so that no threshold"
                " keeps to it: choose a larger rate"
            )
        worth = np.where(allowed, found, -1)
    best = np.flatnonzero(worth >= worth.max() - 1e-12)
    index = int(best[np.abs(trade.thresholds[best] - MOST_PROBABLE).argmin()])
    hits, alarms = int(found[index]), int(wrong[index])
    return Threshold(
        value=float(trade.thresholds[index]),
        rows=len(positives),
        precision=hits / max(hits + alarms, 1),
        recall=hits / with_it,
        f1=2 * hits / (hits + alarms + with_it),
        false_positive_rate=alarms / without,
        false_positive_interval=wilson_interval(alarms, without, confidence),
        cost=(goal.false_positive * alarms + goal.false_negative * (with_it - hits)) / len(positives),
    )


def trade_offs(positives: NDArray[np.bool_], scores: Floats) -> Trade:
    """Returns what each threshold gives that tells messages apart, distinct scores + 1 at most."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positives[order]
    last = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True))  # the last message of each distinct score
    upper, lower = np.concatenate([[1.0], ordered[last]]), np.concatenate([ordered[last], [0.0]])
    middle = (upper + lower) / 2
    thresholds = np.where(middle > lower, middle, upper)  # of neighbouring floats there is none between
    possible = (thresholds > 0) & (thresholds < 1)
    return Trade(
        thresholds=thresholds[possible],
        true_positives=np.append(0, np.cumsum(hits)[last])[possible],
        false_positives=np.append(0, np.cumsum(~hits)[last])[possible],
    )
