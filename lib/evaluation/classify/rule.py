"""Chooses on validation messages how a classifier's probabilities become an answer: a temperature, then a threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from lib.evaluation.classify.calibration import COLDEST, WARMEST, Scaling, fit_temperature
from lib.evaluation.classify.threshold import F1, Goal, Threshold, choose_threshold
from lib.model.labels import (
    AUTO,
    MOST_PROBABLE,
    UNSCALED,
    Probabilities,
    Targets,
    positive_class,
    with_temperature,
)


@dataclass(frozen=True)
class Wanted:
    """What a recipe says of the rule.

    positive_label: of two labels, None for the last. threshold: a number, or "auto": the one that serves `goal` best.
    calibrate: whether probabilities are divided by a temperature.
    """

    positive_label: str | None = None
    threshold: float | Literal["auto"] = MOST_PROBABLE
    goal: Goal = F1
    calibrate: bool = False


@dataclass(frozen=True)
class Rule:
    """How probabilities become an answer.

    positive, threshold: as in `given_labels`. temperature: as in `with_temperature`; it comes first. goal, achieved:
    what the threshold was chosen for, and what it gives on the validation messages; None where the recipe names it.
    scaling: the temperature that validation messages ask for, whether it is used or not.
    """

    positive: str | None
    threshold: float
    temperature: float
    goal: Goal | None
    achieved: Threshold | None
    scaling: Scaling

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are not the network's own."""
        return self.temperature != UNSCALED

    def in_words(self) -> dict[str, str]:
        """Returns what pages say of it, by name; nothing where the most probable label is given."""
        words = {}
        if self.threshold != MOST_PROBABLE:
            words["threshold"] = f"{self.threshold:.4g} for {self.positive}"
        if self.goal is not None and self.achieved is not None:
            found = self.achieved
            words["threshold"] = (
                f"{self.threshold:.4g} for {self.positive}, chosen on {found.rows:,} validation messages for"
                f" {self.goal.in_words}: F1 {found.f1:.2%}, recall {found.recall:.2%}, false-positive rate"
                f" {found.false_positive_rate:.2%}"
            )
        if self.calibrated:
            words["probabilities"] = f"calibrated: logits divided by {self.temperature:.3g}"
        return words

    def as_fields(self) -> dict[str, Any]:
        """Returns what is saved with a model: what answers depend on, and how it was chosen."""
        chosen = {"goal": asdict(self.goal), "achieved": asdict(self.achieved)} if self.goal and self.achieved else {}
        scaled = {"temperature": self.temperature} if self.calibrated else {}
        return {"threshold": self.threshold, **scaled, **({"chosen_on_validation": chosen} if chosen else {})}


def choose_rule(
    wanted: Wanted, labels: tuple[str, ...], targets: Targets, probabilities: Probabilities, *, confidence: float = 0.95
) -> Rule:
    """Returns the rule for a classifier whose validation messages have these `targets` (rows,), as indices into
    `labels`, and these probabilities (rows, classes), before any temperature.

    Where the best temperature lies at the end of the range, as without a wrong answer, it says nothing of later
    messages, and probabilities stay as they are. Raises LabelError if what is wanted does not fit the labels, and what
    `choose_threshold` raises.
    """
    positive = positive_class(labels, wanted.positive_label, wanted.threshold)
    scaling = fit_temperature(targets, probabilities)
    temperature = scaling.temperature if wanted.calibrate and not scaling.at_the_end else UNSCALED
    threshold, goal, achieved = wanted.threshold, None, None
    if threshold == AUTO:
        assert positive is not None, "of more labels positive_class refuses a threshold"
        index, goal = labels.index(positive), wanted.goal
        scores = with_temperature(probabilities, temperature)[:, index]
        achieved = choose_threshold(targets == index, scores, goal, confidence=confidence)
        threshold = achieved.value
    return Rule(positive, float(threshold), temperature, goal, achieved, scaling)


def not_calibrated(wanted: Wanted, rule: Rule) -> str | None:
    """Returns a sentence if probabilities were to be calibrated and are not."""
    if not wanted.calibrate or rule.calibrated:
        return None
    return (
        f"evaluation.calibrate is true, but the best temperature on validation is outside {COLDEST:g} to {WARMEST:g},"
        " as where no answer is wrong: the probabilities stay as they are"
    )
