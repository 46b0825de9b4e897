"""Gives each text a label by the probabilities of all labels and a threshold; without torch or scikit-learn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError

Targets = NDArray[np.integer[Any]]  # (rows,) class indices
Probabilities = NDArray[np.float64]  # (rows, classes), each row sums to one

MOST_PROBABLE = 0.5  # the threshold at which the more probable of two labels is given


def softmax(logits: NDArray[np.float64]) -> Probabilities:
    """Returns the probabilities of logits (rows, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Probabilities = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def positive_class(labels: tuple[str, ...], wanted: str | None, threshold: float = MOST_PROBABLE) -> str | None:
    """Returns the positive class of two (`wanted`, or else the last), for precision, recall and `threshold`; else None.
    Raises LabelError if `wanted` is not a label, or is set with more than two classes."""
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
    """Returns the label given to each row of `probabilities` (rows, classes) as indices into `labels` (rows,).

    A `positive` label is given from the probability `threshold` on, the other label below it. At `MOST_PROBABLE`, and
    with more classes, the most probable label is given, the first of equals.
    """
    given: NDArray[np.intp] = probabilities.argmax(axis=1)
    if positive is not None and threshold != MOST_PROBABLE:
        index = labels.index(positive)
        given = np.where(probabilities[:, index] >= threshold, index, 1 - index)
    return given
