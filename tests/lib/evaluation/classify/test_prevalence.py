import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from sklearn import metrics as reference

from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.prevalence import MOST_POINTS, natural_prevalence, precision_recall
from lib.evaluation.significance import wilson_interval
from lib.model.labels import Probabilities, Targets

LABELS = ("ham", "spam")


def estimate_if_known(
    targets: ArrayLike,
    predicted: ArrayLike,
    counts: dict[str, int],
    *,
    labels: tuple[str, ...] = LABELS,
    positive: str | None = "spam",
) -> dict[str, Any] | None:
    return natural_prevalence(
        [(np.array(targets), np.eye(len(labels))[np.array(predicted)])],
        labels=labels,
        positive=positive,
        class_counts=counts,
        confidence=0.95,
    )


def estimate(targets: ArrayLike, predicted: ArrayLike, counts: dict[str, int], **labels: Any) -> dict[str, Any]:
    figures = estimate_if_known(targets, predicted, counts, **labels)
    assert figures is not None
    return figures


def test_a_balanced_split_at_nine_to_one_by_hand() -> None:
    # recall of ham 9/10, of spam 8/10; in the source 90 % ham
    figures = estimate([0] * 10 + [1] * 10, [0] * 9 + [1] + [1] * 8 + [0] * 2, {"ham": 900, "spam": 100})
    assert figures["accuracy"] == pytest.approx(0.9 * 0.9 + 0.1 * 0.8)
    assert figures["recall"] == pytest.approx(0.8)
    precision = 0.1 * 0.8 / (0.1 * 0.8 + 0.9 * 0.1)
    assert figures["precision"] == pytest.approx(precision)
    assert figures["f1"] == pytest.approx(2 * precision * 0.8 / (precision + 0.8))
    assert figures["false_positives_per_1000"] == pytest.approx(90)
    assert figures["false_negatives_per_1000"] == pytest.approx(20)
    assert figures["errors_per_1000"] == pytest.approx(110)
    assert figures["shares"] == {"ham": 0.9, "spam": 0.1}


def test_a_split_with_the_sources_shares_gives_its_own_figures() -> None:
    generator = np.random.default_rng(0)
    targets = np.array([0] * 90 + [1] * 10)
    predicted = np.where(generator.random(100) < 0.1, 1 - targets, targets)
    figures = estimate(targets, predicted, {"ham": 4500, "spam": 500})
    plain = measure(targets, np.eye(2)[predicted], labels=LABELS, positive="spam", confidence=0.95)
    for name in ("accuracy", "precision", "recall", "f1", "mcc"):
        assert figures[name] == pytest.approx(plain[name]), name


def test_a_reserve_of_one_class_changes_only_what_is_known_of_that_class() -> None:
    targets, predicted = [0] * 10 + [1] * 10, [0] * 9 + [1] + [1] * 8 + [0] * 2
    counts = {"ham": 900, "spam": 100}
    alone = estimate(targets, predicted, counts)
    more = estimate(targets + [0] * 90, predicted + [0] * 81 + [1] * 9, counts)
    assert more["accuracy"] == pytest.approx(alone["accuracy"])
    assert more["precision"] == pytest.approx(alone["precision"])
    width = [f["accuracy_interval"]["high"] - f["accuracy_interval"]["low"] for f in (alone, more)]
    assert width[1] < width[0]


def test_the_interval_joins_the_classes_intervals() -> None:
    figures = estimate([0] * 10 + [1] * 10, [0] * 9 + [1] + [1] * 8 + [0] * 2, {"ham": 900, "spam": 100})
    below = [share * (hits / 10 - wilson_interval(hits, 10, 0.95)[0]) for share, hits in ((0.9, 9), (0.1, 8))]
    assert figures["accuracy_interval"]["low"] == pytest.approx(figures["accuracy"] - math.hypot(*below))


def test_three_classes() -> None:
    figures = estimate(
        [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0], {"a": 80, "b": 10, "c": 10}, labels=("a", "b", "c"), positive=None
    )
    assert figures["accuracy"] == pytest.approx(0.8 * 0.5 + 0.1 * 1 + 0.1 * 0.5)
    assert figures["errors_per_1000"] == pytest.approx(450)
    assert "false_positives_per_1000" not in figures


def test_no_estimate_without_a_row_of_some_class() -> None:
    assert estimate_if_known([0, 0], [0, 1], {"ham": 9, "spam": 1}) is None


def balanced(rows: int) -> tuple[Targets, Probabilities]:
    generator = np.random.default_rng(0)
    targets = np.arange(rows) % 2
    scores = 1 / (1 + np.exp(-generator.normal(size=rows) - 3 * targets + 1.5))
    return targets, np.stack([1 - scores, scores], axis=1)


def test_the_curve_is_that_of_messages_as_they_come() -> None:
    """Nine ham for each spam: the same as each ham message nine times, with scikit-learn."""
    targets, probabilities = balanced(120)
    found = precision_recall(
        [(targets, probabilities)], labels=("ham", "spam"), positive="spam", class_counts={"ham": 900, "spam": 100}
    )
    assert found is not None
    rows = np.repeat(np.arange(120), np.where(targets == 0, 9, 1))
    precision, recall, thresholds = reference.precision_recall_curve(targets[rows], probabilities[rows, 1])
    assert found.thresholds == pytest.approx(tuple(thresholds))
    assert found.precision == pytest.approx(tuple(precision[:-1]))
    assert found.recall == pytest.approx(tuple(recall[:-1]))
    area = reference.average_precision_score(targets[rows], probabilities[rows, 1])
    assert found.average_precision == pytest.approx(area)
    assert (found.prevalence, found.precision[0]) == pytest.approx((0.1, 0.1))


def test_a_long_curve_is_thinned_from_end_to_end() -> None:
    targets, probabilities = balanced(4_000)
    found = precision_recall(
        [(targets, probabilities)], labels=("ham", "spam"), positive="spam", class_counts={"ham": 1, "spam": 1}
    )
    assert found is not None
    assert MOST_POINTS / 2 < len(found.recall) <= MOST_POINTS
    assert found.recall[0] == 1.0
    assert found.recall[-1] <= 0.001
    assert max(-np.diff(found.recall)) < 0.02
    assert found.average_precision == pytest.approx(reference.average_precision_score(targets, probabilities[:, 1]))


def test_without_messages_of_a_label_there_is_no_curve() -> None:
    rule: dict[str, Any] = {"labels": ("ham", "spam"), "positive": "spam", "class_counts": {"ham": 9, "spam": 1}}
    assert precision_recall([(np.zeros(3, int), np.full((3, 2), 0.5))], **rule) is None
