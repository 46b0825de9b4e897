"""What a classifier is compared with on the test split: the tuned baseline, and the most frequent label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.data.draws import sample_with_rare
from lib.data.groups import ROWS_PER_GROUP
from lib.data.parts import FileWriter, Parts
from lib.evaluation.classify.answers import Answers, text_batches, texts_at
from lib.evaluation.classify.baseline import MOST_ROWS, fit_baseline, majority, refit_baseline
from lib.evaluation.classify.decision import Wanted, decide
from lib.evaluation.classify.findings import BASELINE, CLASSIFIER, MAJORITY, TunedBaseline
from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.predictions import BASELINE_ANSWERED, probability_columns, shares
from lib.evaluation.pieces import pieces
from lib.evaluation.significance import PairedTest, paired_tests
from lib.model.labels import AUTO, MOST_PROBABLE, Probabilities, Targets, given_labels

SEED = 0  # of the baseline's sample
LEAST_OF_CLASS = 10  # messages


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
    """Fits the baseline on what the classifier learned from, or a sample of it. A threshold that is chosen is chosen
    for the baseline too, for the same goal. The majority is that of `natural`, messages by label as they come: after
    balancing, no label of the training messages is the most frequent one. Raises LabelError if all training messages
    that are learned from share one label, and what `decide` raises."""
    classes = len(answers.labels)
    counts = [natural.get(label, 0) for label in answers.labels]
    simple = {MAJORITY: majority(counts, len(answers.targets["test"]))}
    if not baseline:
        return Rivals(simple, None)
    texts, targets = drawn(answers.splits["validation"], answers.targets["validation"])
    fitted = fit_baseline(
        drawn(answers.splits["train"], answers.targets["train"]),
        (texts, targets),
        classes=classes,
        of_rows=len(answers.targets["train"]),
    )
    threshold = answers.threshold
    if wanted.threshold == AUTO:
        rows = fitted.probabilities(texts)
        threshold = decide(replace(wanted, calibrate=False), answers.labels, targets, rows).threshold
    tuned = TunedBaseline(fitted.about, fitted.inverse_penalty, fitted.rows, fitted.of_rows, SEED, threshold)
    given, first = answers.arrays.empty((len(answers.splits["test"]), classes), np.float64), 0
    for batch in text_batches(answers.splits["test"]):
        given[first : first + len(batch)] = fitted.probabilities(batch)
        first += len(batch)
    return Rivals({BASELINE: given, **simple}, tuned)


def answer_again(
    tuned: TunedBaseline, train: Parts, texts: Sequence[str], *, labels: tuple[str, ...], positive: str | None
) -> list[str]:
    """Returns the labels that a baseline gives to more texts, as it was chosen on these training messages."""
    learned = drawn(train, train.positions("label", labels))
    fitted = refit_baseline(learned, inverse_penalty=tuned.inverse_penalty, classes=len(labels), of_rows=tuned.of_rows)
    answered: list[str] = []
    for first in range(0, len(texts), ROWS_PER_GROUP):
        rows = fitted.probabilities(texts[first : first + ROWS_PER_GROUP])
        given = given_labels(rows, labels=labels, positive=positive, threshold=tuned.threshold)
        answered += [labels[index] for index in given.tolist()]
    return answered


def drawn(split: Parts, targets: Targets) -> tuple[list[str], Targets]:
    """Returns texts and classes of the messages that a baseline learns from, or is chosen on: all, or of more than
    `MOST_ROWS` a sample, and of each class `LEAST_OF_CLASS` messages if it has as many, so that none is unknown to the
    baseline only because it is rare."""
    rows = sample_with_rare(split.numbers("exact"), targets, MOST_ROWS, least=LEAST_OF_CLASS, seed=SEED)
    return texts_at(split, rows), targets[rows]


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
        rule, right[name] = _rule(answers, rivals, name), np.empty(len(targets), np.bool_)
        for some in pieces(len(targets)):
            right[name][some] = given_labels(rows[some], **rule) == targets[some]
    return paired_tests(right)


def write_baseline(answers: Answers, rivals: Rivals, file: Path) -> None:
    """Writes the baseline's answers to the test messages: id, predicted, and probability_<label> for each label."""
    columns, names = probability_columns(answers.labels), pa.array(answers.labels, pa.string())
    with FileWriter(file, pa.schema([*BASELINE_ANSWERED, *columns])) as writer:
        first = 0
        for batch in answers.splits["test"].batches(["id"]):
            rows = rivals.probabilities[BASELINE][first : first + len(batch)]
            given = given_labels(rows, **_rule(answers, rivals, BASELINE))
            values = {"id": batch.column("id"), "predicted": names.take(pa.array(given))}
            writer.write(pa.record_batch({**values, **shares(rows, columns)}))
            first += len(batch)


def _rule(answers: Answers, rivals: Rivals, name: str) -> dict[str, Any]:
    """The majority gives its one label whatever the threshold."""
    tuned = rivals.baseline if name == BASELINE else None
    return {**answers.rule, "threshold": MOST_PROBABLE if tuned is None else tuned.threshold}
