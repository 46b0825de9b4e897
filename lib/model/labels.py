"""Turns a network's probabilities into an answer: a temperature that calibrates them, and a threshold that gives each
text a label; without torch or scikit-learn."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError

Targets = NDArray[np.integer[Any]]  # (rows,) class indices
Probabilities = NDArray[np.float64]  # (rows, classes), each row sums to one

MOST_PROBABLE = 0.5  # the threshold at which the more probable of two labels is given
UNSCALED = 1.0  # the temperature at which probabilities stay as they are
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)  # classifiers compute in float32; its logarithm is finite
AUTO = "auto"  # a threshold that is chosen on validation messages


def softmax(logits: NDArray[np.float64]) -> Probabilities:
    """Returns the probabilities of logits (rows, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Probabilities = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def with_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Returns the probabilities (rows, classes) of the logits divided by `temperature`: the same label is the most
    probable one. Those of logits and those of log(probabilities) are the same, so that no engine has to know of it."""
    if temperature == UNSCALED:
        return probabilities
    return softmax(np.log(np.maximum(probabilities, LEAST_PROBABILITY)) / temperature)


def positive_class(
    labels: tuple[str, ...], wanted: str | None, threshold: float | Literal["auto"] = MOST_PROBABLE
) -> str | None:
    """Returns the positive class of two (`wanted`, or else the last), for precision, recall and `threshold`; else None.
    Raises LabelError if `wanted` is not a label, or if it or a threshold is set with more than two classes."""
    if len(labels) > 2 and threshold != MOST_PROBABLE:
        raise LabelError(
            f"evaluation.threshold is {threshold}, but with {len(labels)} classes the most probable label is given:"
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


def require_both(targets: Targets) -> None:
    """Raises LabelError unless both of two labels are among the `targets` (rows,) of validation messages, on which a
    threshold is to be chosen."""
    if len(np.unique(targets)) < 2:
        raise LabelError(
            "evaluation.threshold is auto, and the validation messages all have the same label: set split.stratify to"
            " true, give more messages, or set a number"
        )


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
