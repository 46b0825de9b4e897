"""Measures a classifier on every split, and gathers what the figures rest on and what should make one doubt them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib.data.draws import sample_by_key
from lib.data.tables import SPLITS
from lib.evaluation.classify.answers import Answers, texts_at
from lib.evaluation.classify.bootstrap import bootstrap_intervals
from lib.evaluation.classify.calibration import Calibration, calibration, fit_temperature
from lib.evaluation.classify.decision import Decision
from lib.evaluation.classify.findings import Remedy
from lib.evaluation.classify.leakage import Leak, without_copies
from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.mistakes import MOST_COMPARED, Mistake, confident_mistakes, most_confident
from lib.evaluation.classify.prevalence import PrecisionRecall, natural_prevalence, precision_recall
from lib.model.labels import with_temperature


def split_metrics(answers: Answers) -> dict[str, dict[str, Any]]:
    """Measures each split; those of test have the bounds of their intervals beside them, `f1_low` and `f1_high`, null
    where resampling cannot tell."""
    rule = {**answers.rule, "confidence": answers.confidence}
    measured = {name: measure(answers.targets[name], answers.probabilities[name], **rule) for name in SPLITS}
    intervals = bootstrap_intervals(answers.targets["test"], answers.probabilities["test"], **rule)
    for name, interval in intervals.items():
        for bound in ("low", "high"):
            measured["test"][f"{name}_{bound}"] = interval[bound] if interval else None
    return measured


def metrics_without_copies(answers: Answers, leaks: Sequence[Leak]) -> dict[str, Any] | None:
    """Measures the test messages that have no copy in another split; None if all or none of them have one."""
    kept = without_copies(len(answers.targets["test"]), *(leak for leak in leaks if leak.split == "test"))
    if kept.all() or not kept.any():
        return None
    targets, probabilities = answers.targets["test"][kept], answers.probabilities["test"][kept]
    return measure(targets, probabilities, **answers.rule, confidence=answers.confidence)


@dataclass(frozen=True)
class Calibrations:
    """On the test split: of the probabilities as they are answered, and of those before the temperature, if there is
    one; remedy: what one would do, where there is none and one can be fitted."""

    answered: Calibration
    before: Calibration | None
    remedy: Remedy | None

    @property
    def by_name(self) -> dict[str, Calibration]:
        """Both, where there are two, by what the probabilities are."""
        before = {} if self.before is None else {"before the temperature": self.before}
        after = {} if self.remedy is None else {"if it were calibrated": self.remedy.calibration}
        return {**before, "as answered": self.answered, **after}


def before_and_after(network: Answers, answers: Answers, decision: Decision) -> Calibrations:
    """Measures the calibration of the answers, and of what they would be with or without a temperature. `network`: as
    the network has them."""
    targets, level = answers.targets["test"], answers.confidence
    answered = calibration(targets, answers.probabilities["test"], level=level)
    rows = network.probabilities["test"]
    if decision.scaling is not None:
        return Calibrations(answered, calibration(targets, rows, level=level), None)
    scaling = fit_temperature(network.targets["validation"], network.probabilities["validation"])
    if scaling.at_the_end:
        return Calibrations(answered, None, None)
    scaled = calibration(targets, with_temperature(rows, scaling.temperature), level=level)
    return Calibrations(answered, None, Remedy(scaling, scaled))


def at_natural_shares(
    answers: Answers, class_counts: Mapping[str, int]
) -> tuple[dict[str, Any] | None, PrecisionRecall | None]:
    """Estimates figures and the positive label's curve at the class shares of `class_counts`, rows by label, from the
    messages that are new to the classifier; None where a class has none."""
    figures = natural_prevalence(
        answers.new(), **answers.rule, class_counts=class_counts, confidence=answers.confidence
    )
    if answers.positive is None:
        return figures, None
    curve = precision_recall(answers.new(), labels=answers.labels, positive=answers.positive, class_counts=class_counts)
    return figures, curve


def mistakes(answers: Answers) -> list[Mistake]:
    """Returns the most confident mistakes on the test split with the training messages that are most like them, each of
    these once, however often oversampling repeats it; of more than `MOST_COMPARED` a sample is looked through."""
    train, test = answers.splits["train"], answers.splits["test"]
    wrong = most_confident(answers.targets["test"], answers.given["test"], answers.probabilities["test"])
    if not len(wrong):
        return []
    once = answers.once("train")
    looked_at = once[sample_by_key(train.numbers("exact")[once], MOST_COMPARED)]
    found = confident_mistakes(
        wrong,
        texts_at(test, wrong),
        answers.targets["test"],
        answers.given["test"],
        answers.probabilities["test"],
        texts_at(train, looked_at),
    )
    return [
        replace(each, neighbours=tuple(replace(other, row=int(looked_at[other.row])) for other in each.neighbours))
        for each in found
    ]
