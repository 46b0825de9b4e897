"""Ranks training messages by how probably their label is wrong, with predictions by classifiers that did not see them.

Confident learning: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty in dataset
labels", JAIR 70 (2021). The classifiers are logistic regressions on the pooled features of the messages, not fine-tuned
networks: a fold costs seconds, and what is wanted is a second opinion, not the best one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError
from lib.model.labels import Probabilities, Targets

FOLDS = 5
INVERSE_PENALTY = 1.0  # of the regressions; features are scaled to a variance of one, for which it is usual
MOST_ITERATIONS = 300  # of the solver: the last digits of a second opinion do not matter


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities (rows, classes) by classifiers fitted on the other folds, and the fold of each message (rows,)."""

    probabilities: Probabilities
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """The accuracy of each fold, with mean and standard deviation between folds."""

    accuracies: tuple[float, ...]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Suspects:
    """Messages whose label may be wrong.

    rows: all that could be judged, the most suspicious first. margin: in that order, the probability of the label less
    that of the most probable other one. suggested: in that order, that other one. issues: in that order, whether
    confident learning counts the message among the wrong ones. joint: (classes, classes) messages with the row's label
    that confidently belong to the column's.
    """

    rows: NDArray[np.int64]
    margin: NDArray[np.float64]
    suggested: NDArray[np.int64]
    issues: NDArray[np.bool_]
    joint: NDArray[np.int64]


def deal(targets: Targets, folds: int, seed: int) -> NDArray[np.int64]:
    """Returns a fold for each row, so that every fold has as many of each class as possible, give or take one."""
    order = np.random.default_rng(seed).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]
    fold = np.empty(len(targets), np.int64)
    fold[order] = np.arange(len(targets)) % folds
    return fold


def out_of_fold(
    features: Any,
    targets: Targets,
    *,
    classes: int,
    folds: int = FOLDS,
    seed: int = 0,
    penalty: float = INVERSE_PENALTY,
) -> OutOfFold:
    """Fits a logistic regression for each fold, on the messages of the others.

    Args:
        features: (rows, width) an array, whose columns are scaled, or a sparse matrix, which is taken as it is.
        penalty: the inverse strength of the L2 penalty.

    A class that the other folds do not have gets probability zero. Raises LabelError if the messages share one label.
    """
    from sklearn.linear_model import LogisticRegression  # here, because runs that read a spread compute none
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(targets)) < 2:
        raise LabelError("all messages have the same label, so none can be doubted: give messages with other labels")
    fold = deal(targets, folds, seed)
    probabilities = np.zeros((len(targets), classes))
    for number in range(min(folds, len(targets))):
        inside = fold == number
        # Only two rows of different labels, each in a fold of its own, leave one label to learn from.
        known = np.unique(targets[~inside])
        if len(known) == 1:
            probabilities[inside, known[0]] = 1.0
            continue
        train, rest = features[~inside], features[inside]
        if isinstance(features, np.ndarray):
            scaler = StandardScaler().fit(train)
            train, rest = scaler.transform(train), scaler.transform(rest)
        model = LogisticRegression(C=penalty, max_iter=MOST_ITERATIONS).fit(train, targets[~inside])
        probabilities[np.ix_(inside, model.classes_)] = model.predict_proba(rest)
    return OutOfFold(probabilities, fold)


def spread(targets: Targets, predictions: OutOfFold) -> Spread:
    """Returns how accurate each fold is, and how far folds differ: what another split might have said."""
    right = predictions.probabilities.argmax(axis=1) == targets
    accuracies = [float(right[predictions.fold == number].mean()) for number in np.unique(predictions.fold)]
    deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return Spread(tuple(accuracies), float(np.mean(accuracies)), deviation)


def suspects(targets: Targets, probabilities: Probabilities) -> Suspects:
    """Ranks messages by their out-of-fold `probabilities` (rows, classes), the smallest margin of their label first.

    A class is confident of a message if it gives it at least the mean probability that its own messages get; the most
    probable of the confident classes is the one that the message belongs to. A message whose label no other has cannot
    be judged, and is left out.
    """
    rows = np.arange(len(targets))
    own = probabilities[rows, targets]
    counts = np.bincount(targets, minlength=probabilities.shape[1])
    usual = np.bincount(targets, own, minlength=probabilities.shape[1]) / np.maximum(counts, 1)
    confident = (probabilities >= usual) & (counts > 0)
    belongs = np.where(confident, probabilities, -1.0).argmax(axis=1)
    counted = confident.any(axis=1)
    joint = np.zeros((len(counts), len(counts)), np.int64)
    np.add.at(joint, (targets[counted], belongs[counted]), 1)
    others = probabilities.copy()
    others[rows, targets] = -1.0
    margin = own - others.max(axis=1)
    judged = np.flatnonzero(counts[targets] > 1)
    order = judged[np.argsort(margin[judged], kind="stable")]
    return Suspects(
        rows=order,
        margin=margin[order],
        suggested=others.argmax(axis=1)[order],
        issues=(counted & (belongs != targets))[order],
        joint=joint,
    )
