"""Ranks messages by a score: the area under the ROC curve, the precision-recall curve, and what one message adds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.pieces import pieces

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Precision and recall by rising thresholds (points,). average_precision: the mean of the precisions, each weighted
    by how much recall its threshold adds; it is of all thresholds, whatever the number of points."""

    thresholds: Floats
    precision: Floats
    recall: Floats
    average_precision: float


@dataclass(frozen=True)
class Ranks:
    """The scores of the messages that have a label, and of those that do not, ascending: (rows,) each."""

    inside: Floats
    outside: Floats

    @classmethod
    def of(cls, inside: NDArray[np.bool_], scores: Floats) -> Ranks:
        """Ranks messages by `scores` (rows,); `inside` (rows,) says which of them have the label."""
        return cls.of_pieces([(inside, scores)])

    @classmethod
    def of_pieces(cls, some: Iterable[tuple[NDArray[np.bool_], Floats]]) -> Ranks:
        """As `of`, from pieces of both."""
        parts = [(scores[inside], scores[~inside]) for inside, scores in some]
        ranked = [np.concatenate([np.zeros(0), *(part[kind] for part in parts)]) for kind in (0, 1)]
        for each in ranked:
            each.sort()
        return cls(*ranked)

    @cached_property
    def area(self) -> float | None:
        """The area under the ROC curve: the share of pairs in which the message with the label has the higher score;
        equal ones count half. None without a pair."""
        if not len(self.inside) or not len(self.outside):
            return None
        won = sum(int(_twice_below(self.outside, self.inside[some]).sum()) for some in pieces(len(self.inside)))
        return won / (2 * len(self.inside) * len(self.outside))

    def influence(self, inside: NDArray[np.bool_], scores: Floats) -> Floats:
        """Returns by how much the area moves with one more of each of these messages (rows,): its influence function
        (the components of E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, Biometrics 44, 1988)."""
        assert self.area is not None, "there are messages of both kinds"
        moved = np.empty(len(scores))
        won = _twice_below(self.outside, scores[inside]) / (2 * len(self.outside))
        lost = 1 - _twice_below(self.inside, scores[~inside]) / (2 * len(self.inside))
        moved[inside] = (won - self.area) / len(self.inside)
        moved[~inside] = (lost - self.area) / len(self.outside)
        return moved

    def curve(self, most: int, *, weights: tuple[float, float] = (1.0, 1.0)) -> Curve:
        """Returns precision and recall at each distinct score; of more than `most` at that many even steps of recall.
        weights: how much a message with the label counts, and one without. There must be one with it."""
        thresholds = self._thresholds(most)
        precision, recall = self._at(thresholds, weights)
        # Every message with the label adds as much recall, at the precision of its own score.
        parts = (self._at(self.inside[some], weights)[0] for some in pieces(len(self.inside)))
        average = math.fsum(float(part.sum()) for part in parts) / len(self.inside)
        return Curve(thresholds, precision, recall, average)

    def _at(self, thresholds: Floats, weights: tuple[float, float]) -> tuple[Floats, Floats]:
        """Returns precision and recall of giving the label from each threshold on; some message reaches it."""
        found, wrong = (len(each) - np.searchsorted(each, thresholds) for each in (self.inside, self.outside))
        return found * weights[0] / (found * weights[0] + wrong * weights[1]), found / len(self.inside)

    def _thresholds(self, most: int) -> Floats:
        """Returns distinct scores, ascending."""
        if sum(map(_distinct, (self.inside, self.outside))) <= 2 * most:
            every = np.union1d(self.inside, self.outside)
            if len(every) <= most:
                return every
        # Recall grows only at scores of messages with the label, and begins with the highest score of all.
        rows = len(self.inside)
        highest = max(self.inside[-1], self.outside[-1] if len(self.outside) else -math.inf)
        first = (rows - int(np.searchsorted(self.inside, highest))) / rows
        levels = np.linspace(first, 1.0, most)[1:]
        needed = np.ceil(levels * rows).astype(np.int64)  # messages with the label
        needed += (needed / rows < levels).astype(np.int64) - ((needed - 1) / rows >= levels).astype(
            np.int64
        )  # products are rounded
        needed = np.clip(needed, 1, rows)
        return np.unique(np.append(self.inside[rows - needed], highest))


def _twice_below(ordered: Floats, values: Floats) -> NDArray[np.int64]:
    """Returns twice how many of `ordered` are below each value; what equals it counts half."""
    return np.asarray(np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right"))


def _distinct(ordered: Floats) -> int:
    """Counts the distinct ones of ascending numbers."""
    later, earlier = ordered[1:], ordered[:-1]
    changes = sum(int(np.count_nonzero(later[some] != earlier[some])) for some in pieces(len(later)))
    return changes + 1 if len(ordered) else 0
