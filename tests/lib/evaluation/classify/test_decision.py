"""How probabilities become answers, decided on validation messages of which the right decision is known."""

import numpy as np
import pytest
from scipy.special import softmax as reference
from sklearn.metrics import f1_score

from lib.errors import LabelError
from lib.evaluation.classify.calibration import calibration, fit_temperature
from lib.evaluation.classify.decision import Decision, Wanted, calibration_warning, decide, shares_warning
from lib.evaluation.classify.threshold import Goal
from lib.model.labels import given_labels, with_temperature

LABELS = ("ham", "spam")


def overconfident(rows: int, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets drawn by true probabilities, and those of a classifier with three times the logits."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(rows, classes))
    truth = reference(logits, axis=1)
    targets = (truth.cumsum(axis=1) < generator.random((rows, 1))).sum(axis=1)
    return targets, reference(3 * logits, axis=1)


def test_a_temperature_divides_logits_whatever_they_are_called() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 4)) * 30  # as far apart as those of a network that overshoots
    found = with_temperature(reference(logits, axis=1), 2.5)
    assert found == pytest.approx(reference(logits / 2.5, axis=1), abs=1e-14)
    same = reference(logits, axis=1)
    assert with_temperature(same, 1.0) is same  # not a digit changes where nothing is calibrated


def test_by_default_the_most_probable_label_is_given_and_nothing_is_calibrated() -> None:
    decision = decide(Wanted(), LABELS, *overconfident(300))
    assert (decision, decision.temperature) == (Decision(0.5), 1.0)
    assert decision.in_words("spam") == {}
    assert decision.as_fields() == {"threshold": 0.5}


def test_the_threshold_is_chosen_for_the_probabilities_that_are_served() -> None:
    targets, probabilities = overconfident(400)
    wanted = Wanted(positive_label="ham", threshold="auto", goal=Goal("cost", false_negative=5), calibrate=True)
    decision = decide(wanted, LABELS, targets, probabilities)
    assert decision.temperature == fit_temperature(targets, probabilities).temperature
    served = with_temperature(probabilities, decision.temperature)

    def cost(threshold: float) -> float:
        given = given_labels(served, labels=LABELS, positive="ham", threshold=threshold)
        return float(((given == 0) & (targets == 1)).sum() + 5 * ((given == 1) & (targets == 0)).sum()) / 400

    assert decision.chosen is not None
    assert decision.chosen.cost == pytest.approx(cost(decision.threshold))
    assert cost(decision.threshold) == min(cost(threshold) for threshold in np.unique(served[:, 0]))
    # The classifier's probabilities being right, the threshold is near 1 / (1 + 5), by decision theory.
    assert decision.threshold == pytest.approx(1 / 6, abs=0.08)
    fields = decision.as_fields()
    assert fields["chosen_on_validation"]["goal"]["measure"] == "cost"
    assert (fields["threshold"], fields["temperature"]) == (decision.threshold, decision.temperature)
    words = decision.in_words("ham")
    assert "for ham, chosen on 400 validation messages for the least cost (1 a false positive" in words["threshold"]
    assert words["probabilities"].startswith("calibrated: logits divided by ")


def test_the_largest_f1_is_that_of_scikit_learn() -> None:
    targets, probabilities = overconfident(200)
    decision = decide(Wanted(threshold="auto"), LABELS, targets, probabilities)
    best = max(f1_score(targets, probabilities[:, 1] >= each) for each in np.unique(probabilities[:, 1]))
    assert f1_score(targets, probabilities[:, 1] >= decision.threshold) == best
    assert decision.chosen is not None
    assert decision.chosen.f1 == pytest.approx(best)


@pytest.mark.parametrize("classes", [2, 5])
def test_an_overconfident_classifier_is_set_right_on_messages_that_it_was_not_fitted_on(classes: int) -> None:
    labels = tuple("abcde"[:classes])
    decision = decide(Wanted(calibrate=True), labels, *overconfident(600, classes, seed=1))
    targets, probabilities = overconfident(2_000, classes, seed=2)
    before, after = (
        calibration(targets, with_temperature(probabilities, each)) for each in (1.0, decision.temperature)
    )
    assert before.error > 3 * before.by_chance
    assert after.error < before.error / 4
    assert after.log_loss < before.log_loss


def test_without_a_mistake_nothing_is_calibrated_and_that_is_said() -> None:
    targets, probabilities = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    wanted = Wanted(calibrate=True)
    decision = decide(wanted, LABELS, targets, probabilities)
    assert decision == Decision(0.5)
    assert "outside 0.05 to 20, as where no answer is wrong" in (calibration_warning(wanted, decision) or "")
    assert calibration_warning(Wanted(), decision) is None


def test_what_depends_on_class_shares_that_undersampling_has_evened_out_is_said() -> None:
    def told(wanted: Wanted) -> str | None:
        assert shares_warning(wanted, undersampled=False) is None
        return shares_warning(wanted, undersampled=True)

    assert told(Wanted()) is told(Wanted(threshold=0.9)) is None
    assert told(Wanted(threshold="auto", goal=Goal("false_positive_rate"))) is None
    assert "and the threshold chosen there fit messages that come so" in (told(Wanted(threshold="auto")) or "")
    both = told(Wanted(threshold="auto", goal=Goal("cost"), calibrate=True))
    assert both is not None
    assert both.startswith("balance.method is undersample, so validation has as many messages of each label")
    assert "the threshold and the temperature chosen there" in both


def test_what_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(LabelError, match=r"evaluation.threshold is auto, but with 3 classes"):
        decide(Wanted(threshold="auto"), ("a", "b", "c"), *overconfident(20, 3))
    with pytest.raises(LabelError, match="all have the same label"):
        decide(Wanted(threshold="auto"), LABELS, np.ones(20, int), overconfident(20)[1])
