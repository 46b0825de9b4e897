"""Shows a classifier's most confident mistakes beside the training messages that are most like them: the fault of the
classifier, of the label, or of what it learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.classify.grams import grams_of, nearest
from lib.model.labels import Probabilities, Targets

MOST_MISTAKES = 20
NEIGHBOURS = 3


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


def confident_mistakes(
    texts: Sequence[str],
    targets: Targets,
    given: Targets,
    probabilities: Probabilities,
    training_texts: Sequence[str],
    *,
    most: int = MOST_MISTAKES,
) -> list[Mistake]:
    """Returns up to `most` mistakes, those first whose wrong label has the highest probability, each with up to three
    training messages.

    Args:
        texts, targets, given, probabilities: of the messages (rows,), and (rows, classes).
        training_texts: each is read once, whatever the number of mistakes.
    """
    wrong = np.flatnonzero(targets != given)
    sure = probabilities[wrong, given[wrong]]
    rows = wrong[np.argsort(-sure, kind="stable")[:most]].tolist()
    if not rows:
        return []
    alike = nearest(grams_of([texts[row] for row in rows]), grams_of(training_texts), NEIGHBOURS)
    return [
        Mistake(
            row=row,
            target=int(targets[row]),
            given=int(given[row]),
            probability=float(probabilities[row, given[row]]),
            neighbours=tuple(Neighbour(other, cosine) for other, cosine in found),
        )
        for row, found in zip(rows, alike, strict=True)
    ]
