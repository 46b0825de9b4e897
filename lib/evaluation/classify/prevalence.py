"""Estimates metrics at the class shares that messages come with; precision and false alarms depend on them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.evaluation.classify.metrics import confusion_of, rates
from lib.evaluation.classify.ranks import Ranks
from lib.evaluation.significance import wilson_interval
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels

MOST_POINTS = 200  # of a curve that is drawn or printed
Messages = Iterable[tuple[Targets, Probabilities]]  # in pieces of (rows,) and (rows, classes)


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of the positive label at the natural class shares, by rising thresholds (points,).

    average_precision: the mean of the precisions, each weighted by how much recall its threshold adds.
    prevalence: the share of the positive label, which is the precision of giving it to every message.
    """

    thresholds: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    average_precision: float
    prevalence: float


def natural_prevalence(
    messages: Messages,
    *,
    labels: tuple[str, ...],
    positive: str | None,
    threshold: float = MOST_PROBABLE,
    class_counts: Mapping[str, int],
    confidence: float,
) -> dict[str, Any] | None:
    """Estimates the metrics at the class shares of the source, from rows that were never trained on.

    The rows are the test split and, if there is one, the reserve (what undersampling left out), in pieces of `targets`
    (rows,) and `probabilities` (rows, classes) float64. `class_counts` are rows by label, as messages come: of the
    source, or of a given test split. With s_c the share of class c there and n_c of the n rows here, each row of class
    c has the weight w_c = s_c * n / n_c, so that the weighted rows have those shares. Then

        accuracy = sum_c s_c * recall_c
        precision of p = s_p * recall_p / sum_c s_c * (share of class c's rows that are predicted as p)

    and so on: precision, recall, F1 and MCC come from the weighted rows. `errors_per_1000` counts the wrong answers
    among 1,000 arriving messages; of two classes also `false_positives_per_1000` and `false_negatives_per_1000`.
    `confusion` and the metrics per class are left to the unweighted splits.

    The accuracy's interval joins the classes' Wilson intervals (l_c, u_c) of recall by the method of variance estimates
    recovery (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008): low = accuracy - sqrt(sum_c (s_c * (recall_c -
    l_c))^2), high alike with u_c.

    Returns None if a class of the source has no row here.
    """
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    for targets, probabilities in messages:
        predicted = given_labels(probabilities, labels=labels, positive=positive, threshold=threshold)
        confusion += confusion_of(targets, predicted, len(labels))
    counts, shares = confusion.sum(axis=1), _shares(labels, class_counts)
    if (counts[shares > 0] == 0).any():
        return None
    weighted = confusion * _weights(counts, shares)[:, None]
    # (classes, classes): of all arriving messages, the share that is truly of the row's and predicted as the column's
    joint = weighted / counts.sum()
    accuracy = float(joint.trace())
    low, high = _interval(accuracy, confusion.diagonal(), counts, shares, confidence)
    measured = rates(weighted, labels=labels, positive=positive)
    figures: dict[str, Any] = {
        "rows": int(counts.sum()),
        "shares": {label: float(share) for label, share in zip(labels, shares, strict=True)},
        "accuracy": accuracy,
        "accuracy_interval": {"low": low, "high": high, "confidence": confidence},
        **{name: measured[name] for name in ("precision", "recall", "f1", "mcc")},
        "errors_per_1000": float(1000 * (joint.sum() - joint.trace())),
    }
    if positive is not None:
        index = labels.index(positive)
        figures["false_positives_per_1000"] = float(1000 * joint[1 - index, index])
        figures["false_negatives_per_1000"] = float(1000 * joint[index, 1 - index])
    return figures


def precision_recall(
    messages: Messages,
    *,
    labels: tuple[str, ...],
    positive: str,
    class_counts: Mapping[str, int],
) -> PrecisionRecall | None:
    """Returns the curve of the positive label of two; arguments, weights and None are those of `natural_prevalence`.

    Of more than 200 thresholds 200 are returned, at even steps of recall; the average precision is of all.
    """
    index = labels.index(positive)
    ranks = Ranks.of_pieces((targets == index, probabilities[:, index]) for targets, probabilities in messages)
    shares = _shares(labels, class_counts)
    counts = np.array([len(ranks.outside), len(ranks.inside)] if index else [len(ranks.inside), len(ranks.outside)])
    if (counts == 0).any() or (shares == 0).any():
        return None
    weights = _weights(counts, shares)
    curve = ranks.curve(MOST_POINTS, weights=(float(weights[index]), float(weights[1 - index])))
    return PrecisionRecall(
        thresholds=tuple(curve.thresholds.tolist()),
        precision=tuple(curve.precision.tolist()),
        recall=tuple(curve.recall.tolist()),
        average_precision=curve.average_precision,
        prevalence=float(shares[index]),
    )


def _shares(labels: tuple[str, ...], class_counts: Mapping[str, int]) -> Probabilities:
    source = np.array([class_counts.get(label, 0) for label in labels], dtype=np.float64)
    return np.asarray(source / source.sum())


def _weights(counts: Targets, shares: Probabilities) -> Probabilities:
    """Returns how much a row of each class counts (classes,), so that the weighted rows have the natural shares."""
    return np.asarray(shares * counts.sum() / np.maximum(counts, 1))


def _interval(
    accuracy: float, hits: Targets, counts: Targets, shares: Probabilities, confidence: float
) -> tuple[float, float]:
    below = above = 0.0
    for hit, count, share in zip(hits.tolist(), counts.tolist(), shares.tolist(), strict=True):
        if share:
            low, high = wilson_interval(hit, count, confidence)
            below += (share * (hit / count - low)) ** 2
            above += (share * (high - hit / count)) ** 2
    return max(0.0, accuracy - math.sqrt(below)), min(1.0, accuracy + math.sqrt(above))
