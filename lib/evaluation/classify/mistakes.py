"""Shows a classifier's most confident mistakes beside the training messages that are most like them: the fault of the
classifier, of the label, or of what it learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.classify.grams import grams_of, nearest
from lib.model.labels import Probabilities, Targets

MOST_MISTAKES = 20
NEIGHBOURS = 3
MOST_COMPARED = 50_000  # training messages beside the mistakes


@dataclass(frozen=True)
class Neighbour:
    """A training message by its row, and the cosine of its character n-grams with those of a mistake."""

    row: int
    cosine: float


@dataclass(frozen=True)
class Mistake:
    """A message with a wrong label: its row, the class that it has and the one that was given, and the probability of
    the latter."""

    row: int
    target: int
    given: int
    probability: float
    neighbours: tuple[Neighbour, ...]


def most_confident(
    targets: Targets, given: Targets, probabilities: Probabilities, *, most: int = MOST_MISTAKES
) -> NDArray[np.int64]:
    """Returns the rows of up to `most` mistakes, those first whose wrong label has the highest probability."""
    wrong = np.flatnonzero(targets != given)
    sure = probabilities[wrong, given[wrong]]
    return wrong[np.argsort(-sure, kind="stable")[:most]]


def confident_mistakes(
    rows: NDArray[np.int64],
    texts: Sequence[str],
    targets: Targets,
    given: Targets,
    probabilities: Probabilities,
    training_texts: Sequence[str],
) -> list[Mistake]:
    """Returns the mistakes at these rows, each with up to three training messages.

    Args:
        texts: of the mistakes, in the order of `rows`.
        targets, given, probabilities: of all messages (rows,), and (rows, classes).
        training_texts: each is read once, whatever the number of mistakes.
    """
    alike = nearest(grams_of(texts), grams_of(training_texts), NEIGHBOURS)
    return [
        Mistake(
            row=row,
            target=int(targets[row]),
            given=int(given[row]),
            probability=float(probabilities[row, given[row]]),
            neighbours=tuple(Neighbour(other, cosine) for other, cosine in found),
        )
        for row, found in zip(rows.tolist(), alike, strict=True)
    ]
