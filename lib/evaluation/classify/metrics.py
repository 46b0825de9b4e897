"""Metrics of a classifier, from true classes and predicted probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import LabelError
from lib.evaluation.classify.ranks import Ranks
from lib.evaluation.pieces import pieces
from lib.evaluation.significance import wilson_interval
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels

LEAST_PROBABILITY = np.finfo(np.float64).eps  # of the right label, in the log loss, as in scikit-learn


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
    confusion, loss = np.zeros((len(labels), len(labels)), np.int64), 0.0
    for some in pieces(len(targets)):
        predicted = given_labels(probabilities[some], labels=labels, positive=positive, threshold=threshold)
        confusion += confusion_of(targets[some], predicted, len(labels))
        loss += float(log_losses(targets[some], probabilities[some]).sum())
    hits = int(confusion.trace())
    low, high = wilson_interval(hits, len(targets), confidence)
    return {
        "rows": len(targets),
        "accuracy": hits / len(targets),
        "accuracy_interval": {"low": low, "high": high, "confidence": confidence},
        **rates(confusion, labels=labels, positive=positive),
        "roc_auc": _roc_auc(targets, probabilities, labels, positive),
        "log_loss": loss / len(targets),
    }


def confusion_of(targets: Targets, predicted: Targets, classes: int) -> NDArray[np.int64]:
    """Counts rows by their class and the predicted one: (classes, classes)."""
    counts = np.zeros(classes * classes, np.int64)
    for some in pieces(len(targets)):
        counts += np.bincount(np.asarray(targets[some], np.int64) * classes + predicted[some], minlength=len(counts))
    return counts.reshape(classes, classes)


def log_losses(targets: Targets, probabilities: Probabilities) -> NDArray[np.float64]:
    """Returns each row's log loss (rows,)."""
    of_right = probabilities[np.arange(len(targets)), targets]
    return np.asarray(-np.log(np.clip(of_right, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)))


def rates(confusion: NDArray[Any], *, labels: tuple[str, ...], positive: str | None) -> dict[str, Any]:
    """Returns precision, recall, F1, MCC, false positive rate, confusion matrix and the metrics per class.

    confusion: (classes, classes), the rows of each true class by the predicted one, or what they count.
    """
    rows, predicted, hits = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    of_class = [ratio(hits, predicted), ratio(hits, rows), ratio(2 * hits, rows + predicted)]
    # The classes among targets or predictions, as in scikit-learn's macro average.
    occurring = np.flatnonzero(rows + predicted)
    chosen = occurring if positive is None else [labels.index(positive)]
    precision, recall, f1 = (float(column[chosen].mean()) for column in of_class)
    mcc = float(matthews_correlation(rows, predicted, hits))
    figures: dict[str, Any] = {"precision": precision, "recall": recall, "f1": f1, "mcc": mcc}
    if positive is not None:
        figures["false_positive_rate"] = _false_positive_rate(confusion, labels.index(positive))
    figures["confusion"] = confusion.tolist()
    figures["classes"] = {
        label: {
            "rows": int(rows[index]),
            "precision": float(of_class[0][index]),
            "recall": float(of_class[1][index]),
            "f1": float(of_class[2][index]),
        }
        for index, label in enumerate(labels)
    }
    return figures


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divides; a ratio without cases counts as zero."""
    return np.asarray(np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0))


def matthews_correlation(rows: NDArray[Any], predicted: NDArray[Any], hits: NDArray[Any]) -> NDArray[np.float64]:
    """Computes Matthews' correlation of any number of classes (J. Gorodkin, Computational Biology and Chemistry 28,
    2004) from counts of each class: (classes,), or (draws, classes) of several sets with the same `rows`. With a single
    class it is 0 by convention."""
    rows, predicted = rows.astype(np.float64), predicted.astype(np.float64)
    total = rows.sum()
    together = total * hits.sum(axis=-1) - predicted @ rows
    spread = (total**2 - (rows**2).sum()) * (total**2 - (predicted**2).sum(axis=-1))
    return ratio(together, np.sqrt(spread))


def _false_positive_rate(confusion: NDArray[Any], positive: int) -> float | None:
    negatives = confusion[1 - positive]
    return float(negatives[positive] / negatives.sum()) if negatives.sum() else None


def _roc_auc(
    targets: Targets, probabilities: Probabilities, labels: tuple[str, ...], positive: str | None
) -> float | None:
    """The area under the ROC curve; of more than two classes the mean of one against the rest, where defined."""
    chosen = range(len(labels)) if positive is None else [labels.index(positive)]
    areas = [Ranks.of(targets == index, probabilities[:, index]).area for index in chosen]
    defined = [area for area in areas if area is not None]
    return float(np.mean(defined)) if defined else None
