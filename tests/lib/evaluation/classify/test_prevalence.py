import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.prevalence import natural_prevalence
from lib.evaluation.significance import wilson_interval

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
        np.array(targets),
        np.eye(len(labels))[np.array(predicted)],
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
