"""Gives each text a label by the probabilities of all labels and a threshold; without torch or scikit-learn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError

Targets = NDArray[np.integer[Any]]  # (rows,) class indices
Probabilities = NDArray[np.float64]  # (rows, classes), each row sums to one

MOST_PROBABLE = 0.5  # the threshold at which the more probable of two labels is given


def positive_class(labels: tuple[str, ...], wanted: str | None, threshold: float = MOST_PROBABLE) -> str | None:
    """Of two classes, the one that precision, recall and `threshold` are about: `wanted`, or the last one; None for
    more classes.

    Raises LabelError where `wanted` is not a label, or where there are more than two classes to be positive among.
    """
    if len(labels) > 2 and threshold != MOST_PROBABLE:
        raise LabelError(
            f"evaluation.threshold is {threshold:g}, but with {len(labels)} classes the most probable label is given:"
            " leave it out"
        )
    if wanted is None:
        return labels[-1] if len(labels) == 2 else None
    if wanted not in labels:
        raise LabelError(f"evaluation.positive_label is {wanted!r}, but the labels are {', '.join(labels)}: name one")
    if len(labels) > 2:
        raise LabelError(
            f"evaluation.positive_label is {wanted!r}, but with {len(labels)} classes the figures are averages over"
            " all of them: leave it out"
        )
    return wanted


def given_labels(
    probabilities: Probabilities, *, labels: tuple[str, ...], positive: str | None, threshold: float = MOST_PROBABLE
) -> NDArray[np.intp]:
    """Indices into `labels` (rows,) of the labels that `probabilities` (rows, classes) come to.

    With a `positive` label, which `positive_class` tells, it is given from the probability `threshold` on, and the
    other one below. At `MOST_PROBABLE`, and with more classes, it is the most probable one, of equals the first.
    """
    given: NDArray[np.intp] = probabilities.argmax(axis=1)
    if positive is not None and threshold != MOST_PROBABLE:
        index = labels.index(positive)
        given = np.where(probabilities[:, index] >= threshold, index, 1 - index)
    return given
