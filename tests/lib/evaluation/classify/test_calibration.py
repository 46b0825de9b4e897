"""Calibration of a classifier whose true probabilities are known, and against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from lib.evaluation.classify.calibration import COLDEST, calibration, fit_temperature
from lib.model.labels import Probabilities, Targets, with_temperature


def drawn(rows: int, classes: int, temperature: float = 1.0, seed: int = 0) -> tuple[Targets, Probabilities]:
    """Messages whose labels are drawn by the true probabilities; the classifier's logits are `temperature` times those
    of the truth, so that this temperature sets it right."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(rows, classes))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (truth.cumsum(axis=1) < generator.random((rows, 1))).sum(axis=1)
    wrong = np.exp(temperature * logits)
    return targets, wrong / wrong.sum(axis=1, keepdims=True)


def test_bins_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.2, 0.8], [0.5, 0.5]])
    found = calibration(np.array([0, 1, 1, 1]), probabilities, bins=5)
    assert [(each.low, each.high, each.rows) for each in found.bins] == [(0.4, 0.6, 1), (0.6, 0.8, 1), (0.8, 1.0, 2)]
    assert [each.confidence for each in found.bins] == pytest.approx([0.5, 0.8, 0.925])
    assert [each.accuracy for each in found.bins] == [0.0, 1.0, 0.5]
    assert found.error == pytest.approx((0.5 + 0.2 + 2 * 0.425) / 4)
    assert all(each.interval[0] <= each.accuracy <= each.interval[1] for each in found.bins)


@pytest.mark.parametrize("classes", [2, 5])
def test_bins_are_those_of_scikit_learn(classes: int) -> None:
    targets, probabilities = drawn(2_000, classes, temperature=1.5)
    found = calibration(targets, probabilities, bins=10)
    right = probabilities.argmax(axis=1) == targets
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=10)
    assert [each.accuracy for each in found.bins] == pytest.approx(accuracy.tolist())
    assert [each.confidence for each in found.bins] == pytest.approx(confidence.tolist())
    rows = np.array([each.rows for each in found.bins])
    assert rows.sum() == 2_000
    assert found.error == pytest.approx(float((rows * np.abs(accuracy - confidence)).sum() / 2_000))
    assert found.log_loss == pytest.approx(log_loss(targets, probabilities))


def test_chance_is_told_from_a_classifier_that_is_too_sure() -> None:
    honest = [calibration(*drawn(500, 2, seed=seed)) for seed in range(100)]
    assert sum(each.error > each.by_chance for each in honest) <= 10  # 5 are expected
    sure = [calibration(*drawn(500, 2, temperature=3.0, seed=seed)) for seed in range(20)]
    assert all(each.error > each.by_chance for each in sure)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_spoilt_the_probabilities_is_found(classes: int, temperature: float) -> None:
    targets, probabilities = drawn(20_000, classes, temperature)
    found = fit_temperature(targets, probabilities)
    assert not found.at_the_end
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    mended = with_temperature(probabilities, found.temperature)
    assert (mended.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert calibration(targets, mended).error < max(0.015, calibration(targets, probabilities).error / 3)


def test_no_other_temperature_has_less_log_loss() -> None:
    targets, probabilities = drawn(300, 3, temperature=2.0)
    theirs = minimize_scalar(
        lambda inverse: log_loss(targets, with_temperature(probabilities, 1 / inverse)),
        bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    assert 1 / fit_temperature(targets, probabilities).temperature == pytest.approx(theirs.x, rel=1e-4)


def test_without_a_mistake_the_end_of_the_range_is_said() -> None:
    targets = np.array([0, 1, 1])
    found = fit_temperature(targets, np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]))
    assert found.at_the_end
    assert found.temperature == pytest.approx(COLDEST)


def test_a_probability_of_zero_is_no_infinity() -> None:
    targets, certain = np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert np.isfinite(calibration(targets, certain).log_loss)
    assert np.isfinite(with_temperature(certain, fit_temperature(targets, certain).temperature)).all()
