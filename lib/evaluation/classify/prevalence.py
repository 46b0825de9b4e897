"""Estimates metrics at the class shares that messages come with; precision and false alarms depend on them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.evaluation.significance import wilson_interval
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels

MOST_POINTS = 200  # of a curve that is drawn or printed


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
    targets: Targets,
    probabilities: Probabilities,
    *,
    labels: tuple[str, ...],
    positive: str | None,
    threshold: float = MOST_PROBABLE,
    class_counts: Mapping[str, int],
    confidence: float,
) -> dict[str, Any] | None:
    """Estimates the metrics at the class shares of the source, from rows that were never trained on.

    The rows are the test split and, if there is one, the reserve (what undersampling left out): `targets` (rows,),
    `probabilities` (rows, classes) float64. `class_counts` are rows by label, as messages come: of the source, or of a
    given test split. With s_c the share of class c there and n_c of the n rows here, each row of class c has the weight
    w_c = s_c * n / n_c, so that the weighted rows have those shares. Then

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
    from lib.evaluation.classify.metrics import rates  # here, because runs that read a curve compute none

    counts, shares = np.bincount(targets, minlength=len(labels)), _shares(labels, class_counts)
    if (counts[shares > 0] == 0).any():
        return None
    predicted = given_labels(probabilities, labels=labels, positive=positive, threshold=threshold)
    weights = _weights(targets, shares)
    weighted = rates(targets, predicted, labels=labels, positive=positive, weights=weights)
    # (classes, classes): of all arriving messages, the share that is truly of the row's and predicted as the column's
    joint = np.array(weighted["confusion"]) / len(targets)
    hits = np.bincount(targets[predicted == targets], minlength=len(labels))
    accuracy = float(joint.trace())
    low, high = _interval(accuracy, hits, counts, shares, confidence)
    figures: dict[str, Any] = {
        "rows": len(targets),
        "shares": {label: float(share) for label, share in zip(labels, shares, strict=True)},
        "accuracy": accuracy,
        "accuracy_interval": {"low": low, "high": high, "confidence": confidence},
        **{name: weighted[name] for name in ("precision", "recall", "f1", "mcc")},
        "errors_per_1000": float(1000 * (joint.sum() - joint.trace())),
    }
    if positive is not None:
        index = labels.index(positive)
        figures["false_positives_per_1000"] = float(1000 * joint[1 - index, index])
        figures["false_negatives_per_1000"] = float(1000 * joint[index, 1 - index])
    return figures


def precision_recall(
    targets: Targets,
    probabilities: Probabilities,
    *,
    labels: tuple[str, ...],
    positive: str,
    class_counts: Mapping[str, int],
) -> PrecisionRecall | None:
    """Returns the curve of the positive label of two; arguments, weights and None are those of `natural_prevalence`.

    Of more than 200 thresholds 200 are returned, at even steps of recall; the average precision is of all.
    """
    from sklearn.metrics import precision_recall_curve

    counts, shares = np.bincount(targets, minlength=len(labels)), _shares(labels, class_counts)
    if (counts == 0).any() or (shares == 0).any():
        return None
    index = labels.index(positive)
    precision, recall, thresholds = precision_recall_curve(
        targets == index, probabilities[:, index], sample_weight=_weights(targets, shares)
    )
    average = float(-(np.diff(recall) * precision[:-1]).sum())
    rising = recall[-2::-1]  # without the point (1, 0), which belongs to no threshold
    steps = np.searchsorted(rising, np.linspace(rising[0], rising[-1], MOST_POINTS))
    every = np.arange(len(thresholds))
    kept = every if len(every) <= MOST_POINTS else np.unique(len(thresholds) - 1 - np.minimum(steps, every[-1]))
    return PrecisionRecall(
        thresholds=tuple(thresholds[kept].tolist()),
        precision=tuple(precision[kept].tolist()),
        recall=tuple(recall[kept].tolist()),
        average_precision=average,
        prevalence=float(shares[index]),
    )


def _shares(labels: tuple[str, ...], class_counts: Mapping[str, int]) -> Probabilities:
    source = np.array([class_counts.get(label, 0) for label in labels], dtype=np.float64)
    return np.asarray(source / source.sum())


def _weights(targets: Targets, shares: Probabilities) -> Probabilities:
    """Returns how much each row counts (rows,), so that the weighted rows have the natural shares."""
    counts = np.bincount(targets, minlength=len(shares))
    return np.asarray((shares * len(targets) / np.maximum(counts, 1))[targets])


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
