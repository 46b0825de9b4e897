"""What a classifier is compared with on the test split: the tuned baseline, and the most frequent label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from lib.evaluation.classify.answers import Answers, columns_of
from lib.evaluation.classify.baseline import fit_baseline, majority
from lib.evaluation.classify.decision import Wanted, decide
from lib.evaluation.classify.findings import BASELINE, CLASSIFIER, MAJORITY, TunedBaseline
from lib.evaluation.classify.metrics import measure
from lib.evaluation.significance import PairedTest, paired_tests
from lib.model.labels import AUTO, MOST_PROBABLE, Probabilities, given_labels

SEED = 0  # of the baseline's sample


@dataclass(frozen=True)
class Rivals:
    """Their probabilities (rows of test, classes) by name, and how the baseline came about, if there is one."""

    probabilities: Mapping[str, Probabilities]
    baseline: TunedBaseline | None

    @property
    def most_frequent(self) -> int:
        """The class that the majority gives to every message."""
        return int(self.probabilities[MAJORITY][0].argmax())


def fit_rivals(answers: Answers, natural: Mapping[str, int], wanted: Wanted, *, baseline: bool) -> Rivals:
    """Fits the baseline on what the classifier learned from. A threshold that is chosen is chosen for the baseline too,
    for the same goal. The majority is that of `natural`, messages by label as they come: after balancing, no label of
    the training messages is the most frequent one. Raises LabelError if all training messages share one label, and what
    `decide` raises."""
    texts, targets, classes = answers.texts, answers.targets, len(answers.labels)
    simple = {MAJORITY: majority([natural.get(label, 0) for label in answers.labels], len(texts["test"]))}
    if not baseline:
        return Rivals(simple, None)
    train, validation = ((texts[name], targets[name]) for name in ("train", "validation"))
    fitted = fit_baseline(train, validation, classes=classes, seed=SEED)
    threshold = answers.threshold
    if wanted.threshold == AUTO:
        rows = fitted.probabilities(texts["validation"])
        threshold = decide(replace(wanted, calibrate=False), answers.labels, targets["validation"], rows).threshold
    tuned = TunedBaseline(fitted.about, fitted.inverse_penalty, fitted.rows, fitted.of_rows, SEED, threshold)
    return Rivals({BASELINE: fitted.probabilities(texts["test"]), **simple}, tuned)


def rival_metrics(answers: Answers, rivals: Rivals) -> dict[str, dict[str, dict[str, Any]]]:
    """Measures the rivals on the test split as the classifier is measured: {"baseline": {"test": ...}, ...}."""
    right, confidence = answers.targets["test"], answers.confidence
    return {
        name: {"test": measure(right, rows, **_rule(answers, rivals, name), confidence=confidence)}
        for name, rows in rivals.probabilities.items()
    }


def compare(answers: Answers, rivals: Rivals) -> list[PairedTest]:
    """Compares classifier, baseline and majority, any two, on the test split."""
    targets = answers.targets["test"]
    right = {CLASSIFIER: answers.given["test"] == targets}
    for name, rows in rivals.probabilities.items():
        right[name] = given_labels(rows, **_rule(answers, rivals, name)) == targets
    return paired_tests(right)


def rival_table(answers: Answers, rivals: Rivals) -> pa.Table:
    """Returns the baseline's answers to the test messages: id, predicted, and probability_<label> for each label."""
    rows = rivals.probabilities[BASELINE]
    names = np.array(answers.labels, dtype=object)
    return pa.table(
        {
            "id": answers.splits["test"]["id"].to_numpy(np.int64),
            "predicted": names[given_labels(rows, **_rule(answers, rivals, BASELINE))],
            **columns_of(rows, answers.labels),
        }
    )


def _rule(answers: Answers, rivals: Rivals, name: str) -> dict[str, Any]:
    """The majority gives its one label whatever the threshold."""
    tuned = rivals.baseline if name == BASELINE else None
    return {**answers.rule, "threshold": MOST_PROBABLE if tuned is None else tuned.threshold}
