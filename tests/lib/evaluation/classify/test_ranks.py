"""Areas and curves of ranked messages, against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from lib.evaluation import pieces
from lib.evaluation.classify.ranks import Floats, Ranks


def case(rows: int, digits: int, seed: int = 0) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], Floats]:
    """Messages a third of which have the label, and scores of few digits, so that many are equal."""
    generator = np.random.default_rng(seed)
    inside = generator.random(rows) < 1 / 3
    return inside, np.round(1 / (1 + np.exp(-generator.normal(2.0 * inside - 1))), digits)


@pytest.mark.parametrize("digits", [1, 2, 12])
@pytest.mark.parametrize("piece", [7, 1_000_000])
def test_areas_and_curves_are_scikit_learns(digits: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", piece)
    inside, scores = case(300, digits)
    ranks = Ranks.of(inside, scores)
    assert ranks.area == pytest.approx(reference.roc_auc_score(inside, scores), abs=1e-12)
    for weights in ((1.0, 1.0), (0.2, 3.0)):
        each = np.where(inside, *weights)
        curve = ranks.curve(1_000, weights=weights)
        precision, recall, thresholds = reference.precision_recall_curve(inside, scores, sample_weight=each)
        assert curve.thresholds == pytest.approx(thresholds)
        assert curve.precision == pytest.approx(precision[:-1])
        assert curve.recall == pytest.approx(recall[:-1])
        average = reference.average_precision_score(inside, scores, sample_weight=each)
        assert curve.average_precision == pytest.approx(average)


@pytest.mark.parametrize(("digits", "most"), [(12, 40), (2, 40), (12, 1)])
def test_a_thinned_curve_has_the_highest_threshold_that_reaches_each_step_of_recall(digits: int, most: int) -> None:
    inside, scores = case(4_000, digits, seed=3)
    whole, thinned = (Ranks.of(inside, scores).curve(number) for number in (10_000, most))
    rising = whole.recall[::-1]
    first = np.searchsorted(rising, np.linspace(rising[0], rising[-1], most))
    kept = np.unique(len(rising) - 1 - first)
    assert thinned.thresholds.tolist() == whole.thresholds[kept].tolist()
    assert thinned.recall.tolist() == whole.recall[kept].tolist()
    assert thinned.average_precision == whole.average_precision


def test_the_influences_of_all_messages_cancel() -> None:
    inside, scores = case(500, 2)
    moved = Ranks.of(inside, scores).influence(inside, scores)
    assert moved[inside].sum() == pytest.approx(0, abs=1e-12)
    assert moved[~inside].sum() == pytest.approx(0, abs=1e-12)
    assert Ranks.of(np.ones(3, bool), np.zeros(3)).area is None
