"""Metrics of a classifier, from true classes and predicted probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)

from lib.errors import LabelError
from lib.evaluation.significance import wilson_interval
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels


def measure(
    targets: Targets,
    probabilities: Probabilities,
    *,
    labels: tuple[str, ...],
    positive: str | None,
    threshold: float = MOST_PROBABLE,
    confidence: float,
) -> dict[str, Any]:
    """Returns every metric of one set of rows, ready for JSON.

    `targets` (rows,) are indices into `labels`, `probabilities` (rows, classes) float64; `given_labels` says which
    class is predicted. With a `positive` label (two classes), precision, recall and F1 are about it; without, they are
    the mean over the classes that occur among targets or predictions (macro). A ratio without cases counts as zero, as
    in scikit-learn. `roc_auc` is null where only one class is present; `false_positive_rate` exists for two classes
    only, and is null where no row is negative. Raises LabelError if there are no rows.
    """
    if len(targets) == 0:
        raise LabelError("there are no messages to measure the classifier on: choose larger split fractions")
    predicted = given_labels(probabilities, labels=labels, positive=positive, threshold=threshold)
    hits = int((predicted == targets).sum())
    low, high = wilson_interval(hits, len(targets), confidence)
    return {
        "rows": len(targets),
        "accuracy": hits / len(targets),
        "accuracy_interval": {"low": low, "high": high, "confidence": confidence},
        **rates(targets, predicted, labels=labels, positive=positive),
        "roc_auc": _roc_auc(targets, probabilities, labels, positive),
        "log_loss": float(log_loss(targets, probabilities, labels=np.arange(len(labels)))),
    }


def rates(
    targets: Targets,
    predicted: Targets,
    *,
    labels: tuple[str, ...],
    positive: str | None,
    weights: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Returns precision, recall, F1, MCC, false positive rate, confusion matrix and the metrics per class. `weights`
    (rows,): how much each row counts; without them `confusion` (rows true, columns predicted) holds integers."""
    indices = np.arange(len(labels))
    confusion = confusion_matrix(targets, predicted, labels=indices, sample_weight=weights)
    by_class = precision_recall_fscore_support(
        targets, predicted, labels=indices, sample_weight=weights, zero_division=0
    )
    # The classes among targets or predictions, as in scikit-learn's macro average.
    occurring = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    chosen = occurring if positive is None else [labels.index(positive)]
    precision, recall, f1 = (float(column[chosen].mean()) for column in by_class[:3])
    figures: dict[str, Any] = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        # With a single class it is 0 by convention, where scikit-learn would warn.
        "mcc": float(matthews_corrcoef(targets, predicted, sample_weight=weights)) if len(occurring) > 1 else 0.0,
    }
    if positive is not None:
        figures["false_positive_rate"] = _false_positive_rate(confusion, labels.index(positive))
    figures["confusion"] = confusion.tolist()
    figures["classes"] = {
        label: {
            "rows": int((targets == index).sum()),
            "precision": float(by_class[0][index]),
            "recall": float(by_class[1][index]),
            "f1": float(by_class[2][index]),
        }
        for index, label in enumerate(labels)
    }
    return figures


def _false_positive_rate(confusion: NDArray[Any], positive: int) -> float | None:
    negatives = confusion[1 - positive]
    return float(negatives[positive] / negatives.sum()) if negatives.sum() else None


def _roc_auc(
    targets: Targets, probabilities: Probabilities, labels: tuple[str, ...], positive: str | None
) -> float | None:
    """The area under the ROC curve; of more than two classes the mean of one against the rest, where defined."""
    chosen = range(len(labels)) if positive is None else [labels.index(positive)]
    areas = [
        roc_auc_score(targets == index, probabilities[:, index])
        for index in chosen
        if 0 < (targets == index).sum() < len(targets)
    ]
    return float(np.mean(areas)) if areas else None
