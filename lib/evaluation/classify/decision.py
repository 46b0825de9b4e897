"""Decides on validation messages how a classifier's probabilities become answers: a temperature, then a threshold."""

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
    """What a recipe asks for.

    positive_label: of two labels, None for the last. threshold: a number, or "auto": the one that serves `goal` best.
    calibrate: whether logits are divided by a temperature.
    """

    positive_label: str | None = None
    threshold: float | Literal["auto"] = MOST_PROBABLE
    goal: Goal = F1
    calibrate: bool = False


AS_THEY_ARE = Wanted()


@dataclass(frozen=True)
class Decision:
    """How probabilities become answers.

    threshold: of two labels, the probability from which the positive one is given. goal, chosen: what it was chosen for
    on validation, and what it gives there; None: the recipe says the number. scaling: the temperature fitted on
    validation, which comes first; None: probabilities are as the network has them.
    """

    threshold: float
    goal: Goal | None = None
    chosen: Threshold | None = None
    scaling: Scaling | None = None

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return UNSCALED if self.scaling is None else self.scaling.temperature

    def in_words(self, positive: str | None) -> dict[str, str]:
        """Returns what pages say of it, by name; nothing where the most probable label is given. `positive`: of two
        labels, the one that the threshold is for."""
        words = {}
        if self.threshold != MOST_PROBABLE:
            words["threshold"] = f"{self.threshold:.4g} for {positive}"
        if self.goal is not None and self.chosen is not None:
            found = self.chosen
            words["threshold"] = (
                f"{self.threshold:.4g} for {positive}, chosen on {found.rows:,} validation messages for"
                f" {self.goal.in_words}: F1 {found.f1:.2%}, recall {found.recall:.2%}, false-positive rate"
                f" {found.false_positive_rate:.2%}"
            )
        if self.scaling is not None:
            words["probabilities"] = f"calibrated: logits divided by {self.temperature:.3g}"
        return words

    def as_fields(self) -> dict[str, Any]:
        """Returns what is saved with a model: what its answers depend on, and how that was chosen."""
        fields: dict[str, Any] = {"threshold": self.threshold}
        if self.scaling is not None:
            fields["temperature"] = self.temperature
        if self.goal is not None and self.chosen is not None:
            fields["chosen_on_validation"] = {"goal": asdict(self.goal), "gives": asdict(self.chosen)}
        return fields


def decide(
    wanted: Wanted, labels: tuple[str, ...], targets: Targets, probabilities: Probabilities, *, confidence: float = 0.95
) -> Decision:
    """Decides for a classifier whose validation messages have these `targets` (rows,), as indices into `labels`, and
    these probabilities (rows, classes), before any temperature.

    Where the best temperature lies at the end of the range, as without a wrong answer, it says nothing of later
    messages, and probabilities stay as they are. Raises LabelError if what is wanted does not fit the labels, and what
    `choose_threshold` raises.
    """
    positive = positive_class(labels, wanted.positive_label, wanted.threshold)
    scaling = fit_temperature(targets, probabilities) if wanted.calibrate else None
    if scaling is not None and scaling.at_the_end:
        scaling = None
    if not isinstance(wanted.threshold, str):
        return Decision(wanted.threshold, scaling=scaling)
    assert positive is not None, "of more labels positive_class refuses a threshold"
    index = labels.index(positive)
    scores = with_temperature(probabilities, UNSCALED if scaling is None else scaling.temperature)[:, index]
    chosen = choose_threshold(targets == index, scores, wanted.goal, confidence=confidence)
    return Decision(chosen.value, wanted.goal, chosen, scaling)


def calibration_warning(wanted: Wanted, decision: Decision) -> str | None:
    """Returns a sentence, without its full stop, if probabilities were to be calibrated and are not."""
    if not wanted.calibrate or decision.scaling is not None:
        return None
    return (
        f"evaluation.calibrate is true, but the best temperature on validation is outside {COLDEST:g} to {WARMEST:g},"
        " as where no answer is wrong: the probabilities stay as they are"
    )


def shares_warning(wanted: Wanted, *, undersampled: bool) -> str | None:
    """Returns a sentence, without its full stop, if what is chosen on validation depends on class shares that
    undersampling has evened out there. A false-positive rate does not: it is of the messages of one label."""
    names = ["the threshold"] if wanted.threshold == AUTO and wanted.goal.measure != "false_positive_rate" else []
    names += ["the temperature"] if wanted.calibrate else []
    if not undersampled or not names:
        return None
    return (
        f"balance.method is undersample, so validation has as many messages of each label, and {' and '.join(names)}"
        " chosen there fit messages that come so, not those of the source: oversample and class_weights leave"
        " validation as messages come"
    )
