"""Chooses the threshold of the positive label on validation messages, for a stated goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError
from lib.evaluation.significance import wilson_interval
from lib.model.labels import MOST_PROBABLE

Floats = NDArray[np.float64]
LEAST, MOST = 1e-6, 1 - 1e-6  # what a threshold may be: below all messages, above all


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
    """What each threshold gives: (thresholds,) each, from the highest threshold, which no message reaches, down.

    Thresholds lie halfway between the scores of neighbouring messages, so that neither is decided by rounding.
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

    Raises LabelError unless there are messages with and without the positive label.
    """
    with_it, without = int(positives.sum()), int((~positives).sum())
    if not with_it or not without:
        raise LabelError(
            "evaluation.threshold is auto, and the validation messages all have the same label: set split.stratify to"
            " true, give more messages, or set a number"
        )
    trade = trade_offs(positives, scores)
    found, wrong, missed = trade.true_positives, trade.false_positives, with_it - trade.true_positives
    f1 = 2 * found / (2 * found + wrong + missed)
    cost = (goal.false_positive * wrong + goal.false_negative * missed) / len(positives)
    if goal.measure == "f1":
        worth = f1
    elif goal.measure == "cost":
        worth = -cost
    else:  # the highest threshold gives no false positive, so that one is always allowed
        worth = np.where(wrong <= goal.largest * without * (1 + 1e-12), found, -1)
    best = np.flatnonzero(worth >= worth.max() - 1e-12)
    index = int(best[np.abs(trade.thresholds[best] - MOST_PROBABLE).argmin()])
    given = int(found[index] + wrong[index])
    return Threshold(
        value=float(trade.thresholds[index]),
        rows=len(positives),
        precision=float(found[index] / given) if given else 0.0,
        recall=float(found[index] / with_it),
        f1=float(f1[index]),
        false_positive_rate=float(wrong[index] / without),
        false_positive_interval=wilson_interval(int(wrong[index]), without, confidence),
        cost=float(cost[index]),
    )


def trade_offs(positives: NDArray[np.bool_], scores: Floats) -> Trade:
    """Returns what each threshold gives that tells messages apart (distinct scores + 1,)."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positives[order]
    last = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True))  # the last message of each distinct score
    edges = np.concatenate([[1.0], ordered[last], [0.0]])
    return Trade(
        thresholds=np.clip((edges[:-1] + edges[1:]) / 2, LEAST, MOST),
        true_positives=np.append(0, np.cumsum(hits)[last]),
        false_positives=np.append(0, np.cumsum(~hits)[last]),
    )
