"""Ranks training messages by how probably their label is wrong, with predictions by classifiers that did not see them.

Confident learning: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty in dataset
labels", JAIR 70 (2021). The classifiers are logistic regressions on the mean features of the messages, or on their
n-grams, unless the classifier itself learns on each fold (`lib.evaluation.classify.cross_validation`): a fold takes a
second, and what is wanted is a second opinion, not the best one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError
from lib.evaluation.sampling import sample_rows
from lib.model.labels import Probabilities, Targets

FOLDS = 5
# Of the regressions. Features, scaled to a variance of one, and n-grams, whose rows have the length one, need different
# ones; found with MiniLM's features and n-grams of the SMS collection, and no fine choice.
INVERSE_PENALTY_OF_FEATURES, INVERSE_PENALTY_OF_TEXTS = 0.01, 10.0
# Of more messages a sample is judged: time and memory are bounded, and so is what a person reads. The time of a
# regression grows with its classes, too, and below some ten thousand messages there is little to spare.
MOST_JUDGED, MOST_PROBABILITIES, FEWEST_JUDGED = 50_000, 1_000_000, 10_000
LEAST_USUAL = 1e-6  # probability of a class's own messages that it can be confident from; cleanlab has the same
MOST_ITERATIONS = 300  # of the solver: the last digits of a second opinion do not matter


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities (rows, classes) by classifiers fitted on the other folds, and the fold of each message (rows,)."""

    probabilities: Probabilities
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """The accuracy of each fold, with mean and standard deviation between folds.

    The deviation says how far a figure moves with the messages that happen to be learned from and measured on. It is no
    standard error of the mean, and no interval follows from it: any two folds learn from mostly the same messages, so
    that their accuracies are not independent (Y. Bengio and Y. Grandvalet, "No unbiased estimator of the variance of
    k-fold cross-validation", JMLR 5 (2004)). Nor does it say how far other seeds of a training would move it.
    """

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


def deal(targets: Targets, folds: int, seed: int, groups: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Returns a fold for each row, so that every fold has as many of each class as possible, give or take one.

    groups: rows of the same number stay in one fold (None: each row for itself), which then has them beyond its share.
    """
    groups = np.arange(len(targets)) if groups is None else groups
    _, leaders, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(leaders))
    order = order[np.lexsort((-sizes[order], targets[leaders[order]]))]  # class by class, large groups first
    fold_of_group = np.empty(len(leaders), np.int64)
    dealt = np.zeros((folds, 2), np.int64)  # rows of this class, and of all
    before = -1
    for group in order.tolist():
        label = targets[leaders[group]]
        if label != before:
            dealt[:, 0], before = 0, label
        fold = int(np.lexsort((dealt[:, 1], dealt[:, 0]))[0])
        dealt[fold] += sizes[group]
        fold_of_group[group] = fold
    return fold_of_group[group_of]


def out_of_fold(
    features: Any,
    targets: Targets,
    *,
    classes: int,
    folds: int = FOLDS,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> OutOfFold:
    """Fits a logistic regression for each fold, on the messages of the others.

    Args:
        features: (rows, width) an array, whose columns are scaled, or what `text_features` returns.
        groups: as in `deal`: copies of a message would give its label away.

    A class that the other folds do not have gets probability zero. Raises LabelError if the messages share one label.
    """
    from sklearn.linear_model import LogisticRegression  # here, because runs that read a spread compute none
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if len(np.unique(targets)) < 2:
        raise LabelError("all messages have the same label, so none can be doubted: give messages with other labels")
    fold = deal(targets, folds, seed, groups)
    dense = isinstance(features, np.ndarray)
    penalty = INVERSE_PENALTY_OF_FEATURES if dense else INVERSE_PENALTY_OF_TEXTS
    probabilities = np.zeros((len(targets), classes))
    for number in range(min(folds, len(targets))):
        inside = fold == number
        # Only two rows of different labels, each in a fold of its own, leave one label to learn from.
        known = np.unique(targets[~inside])
        if len(known) == 1:
            probabilities[inside, known[0]] = 1.0
            continue
        train, rest = features[~inside], features[inside]
        if dense:
            scaler = StandardScaler().fit(train)
            train, rest = scaler.transform(train), scaler.transform(rest)
        with threadpool_limits(1):  # the vectors are short: more threads only wait for each other
            model = LogisticRegression(C=penalty, max_iter=MOST_ITERATIONS).fit(train, targets[~inside])
        probabilities[np.ix_(inside, model.classes_)] = model.predict_proba(rest)
    return OutOfFold(probabilities, fold)


def text_features(texts: Sequence[str]) -> Any:
    """Returns TF-IDF of character n-grams (texts, n-grams), a sparse matrix."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    least = 3 if len(texts) > 1_000 else 1  # of many messages, n-grams of one or two only cost time
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=least, dtype=np.float32
    )
    return vectorizer.fit_transform(texts)


def judged_rows(rows: int, classes: int, seed: int = 0) -> list[int]:
    """Returns the rows that are judged, in order: all, or of very many a random sample."""
    most = min(MOST_JUDGED, max(FEWEST_JUDGED, MOST_PROBABILITIES // classes))
    return sample_rows(rows, most, seed)


def spread(targets: Targets, predictions: OutOfFold) -> Spread:
    """Returns how accurate each fold is, and how far folds differ: what another split might have said."""
    right = predictions.probabilities.argmax(axis=1) == targets
    accuracies = [float(right[predictions.fold == number].mean()) for number in np.unique(predictions.fold)]
    deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return Spread(tuple(accuracies), float(np.mean(accuracies)), deviation)


def suspects(targets: Targets, probabilities: Probabilities) -> Suspects:
    """Ranks messages by their out-of-fold `probabilities` (rows, classes), the smallest margin of their label first.

    A class is confident of a message if it gives it at least the mean probability that its own messages get; the
    most probable of the confident classes is the one that the message belongs to. Nothing is confident of a
    probability of zero, which a class gets whose messages all lie in one fold, or of which there is only one. A
    message whose label no other has cannot be judged, and is left out.
    """
    rows = np.arange(len(targets))
    own = probabilities[rows, targets]
    counts = np.bincount(targets, minlength=probabilities.shape[1])
    usual = np.bincount(targets, own, minlength=probabilities.shape[1]) / np.maximum(counts, 1)
    confident = (probabilities >= np.maximum(usual, LEAST_USUAL)) & (counts > 0)
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
