"""Thresholds against a search over every one, with scikit-learn's figures."""

import numpy as np
import pytest
from sklearn import metrics as reference

from lib.errors import LabelError
from lib.evaluation.classify.threshold import Goal, choose_threshold, trade_offs
from lib.model.labels import given_labels

BY_HAND = np.array([True, True, False, True, False, False])
SCORES = np.array([0.95, 0.9, 0.8, 0.6, 0.3, 0.1])


def many(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Messages whose scores are rounded, so that several share one."""
    generator = np.random.default_rng(seed)
    positives = generator.random(rows) < 0.2
    return positives, (1 / (1 + np.exp(-generator.normal(size=rows) - 2.5 * positives + 1))).round(2)


def test_the_thresholds_by_hand() -> None:
    assert choose_threshold(BY_HAND, SCORES, Goal("f1")).value == pytest.approx(0.45)  # 3 of 3, one wrong: 6 / 7
    none = choose_threshold(BY_HAND, SCORES, Goal("false_positive_rate", largest=0.3))
    assert none.value == pytest.approx(0.85)  # between the second and the third message
    assert (none.recall, none.precision, none.false_positive_rate) == (2 / 3, 1.0, 0.0)
    third = choose_threshold(BY_HAND, SCORES, Goal("false_positive_rate", largest=1 / 3))
    assert (third.value, third.false_positive_rate) == pytest.approx((0.45, 1 / 3))
    assert choose_threshold(BY_HAND, SCORES, Goal("cost", false_positive=3)).value == pytest.approx(0.85)
    assert choose_threshold(BY_HAND, SCORES, Goal("cost", false_negative=3)).value == pytest.approx(0.45)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_serves_the_goal_better(seed: int) -> None:
    positives, scores = many(seed)
    every = np.concatenate([[0.001], np.unique(scores), [0.999]])
    given = [scores >= each for each in every]
    found = choose_threshold(positives, scores, Goal("f1"))
    assert found.f1 == pytest.approx(max(reference.f1_score(positives, each, zero_division=0) for each in given))
    costly = choose_threshold(positives, scores, Goal("cost", false_positive=2, false_negative=5))
    costs = [(2 * (each & ~positives).sum() + 5 * (positives & ~each).sum()) / 300 for each in given]
    assert costly.cost == pytest.approx(min(costs))
    strict = choose_threshold(positives, scores, Goal("false_positive_rate", largest=0.05))
    allowed = [each for each in given if (each & ~positives).sum() <= 0.05 * (~positives).sum()]
    assert strict.recall == pytest.approx(max(reference.recall_score(positives, each) for each in allowed))
    assert strict.false_positive_rate <= 0.05 < strict.false_positive_interval[1]


def test_its_figures_are_those_of_the_labels_that_it_gives() -> None:
    positives, scores = many(7)
    found = choose_threshold(positives, scores, Goal("f1"))
    table = np.stack([1 - scores, scores], axis=1)
    given = given_labels(table, labels=("ham", "spam"), positive="spam", threshold=found.value) == 1
    assert found.precision == pytest.approx(reference.precision_score(positives, given))
    assert found.recall == pytest.approx(reference.recall_score(positives, given))
    assert found.f1 == pytest.approx(reference.f1_score(positives, given))
    assert found.false_positive_rate == pytest.approx((given & ~positives).sum() / (~positives).sum())


def test_of_equally_good_thresholds_the_nearest_to_a_half_is_taken() -> None:
    positives = np.array([True, False])
    assert choose_threshold(positives, np.array([0.99, 0.01]), Goal("f1")).value == 0.5
    # With equal costs the fifth message may have either label.
    scores, tie = np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, False, True, False])
    assert choose_threshold(tie, scores, Goal("cost")).value == pytest.approx(0.25)


def test_a_threshold_is_never_zero_or_one() -> None:
    positives, scores = np.array([False, True, True]), np.array([1 - 1e-9, 1 - 1e-10, 1.0])
    strict = choose_threshold(positives, scores, Goal("false_positive_rate", largest=0.0))
    assert scores[0] < strict.value < scores[1]  # however sure the classifier is, and its figures are what it gives
    assert (strict.recall, strict.false_positive_rate) == (1.0, 0.0)
    for same in (np.zeros(2), np.ones(2)):
        thresholds = trade_offs(positives[:2], same).thresholds
        assert thresholds.tolist() == [0.5]
    neighbours = np.array([0.3, np.nextafter(0.3, 1)])
    assert choose_threshold(positives[:2], neighbours, Goal("f1")).f1 == 1.0


def test_a_false_positive_that_no_threshold_avoids_is_said() -> None:
    positives, scores = np.array([False, True, False]), np.array([1.0, 1.0, 0.2])
    with pytest.raises(LabelError, match=r"1 of the 2 validation messages .* probability of 1, .* choose a larger"):
        choose_threshold(positives, scores, Goal("false_positive_rate", largest=0.4))
    assert choose_threshold(positives, scores, Goal("false_positive_rate", largest=0.5)).recall == 1.0


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(LabelError, match="all have the same label"):
        choose_threshold(np.ones(3, bool), np.full(3, 0.5), Goal())
