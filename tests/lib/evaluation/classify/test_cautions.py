"""What makes an evaluation doubtful, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lib.evaluation.classify.calibration import Bin, Calibration
from lib.evaluation.classify.cautions import Source, find_cautions
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.label_check import LabelCheck
from lib.evaluation.classify.leakage import Copy, Leak
from lib.evaluation.classify.slices import Slice
from tests.support.findings import FINDINGS, METRICS


def told(findings: Findings = FINDINGS, source: Source | None = None, **metrics: Any) -> list[str]:
    return [each.clause for each in find_cautions(findings, {**METRICS, **metrics}, source or Source())]


def copies(rows: int, source: str = "train") -> Leak:
    return Leak("test", source, tuple(Copy(row, row, 1.0, exact=True) for row in range(rows)))


def test_an_evaluation_without_flaws_has_none() -> None:
    assert told() == []


def test_copies_count_once_and_the_score_without_them_stands_beside() -> None:
    leaked = replace(FINDINGS, leaks=(copies(40), copies(30, "validation")))
    rest = {"rows": 960, "accuracy": 0.961}
    assert told(leaked, test_without_copies=rest) == [
        "40 of the 1,000 test messages (4.0%) have a copy in another split, or nearly one, and without them 96.10% are"
        " right"
    ]
    assert told(replace(FINDINGS, leaks=(copies(9),))) == []  # less than 1 % moves no figure


@pytest.mark.parametrize(
    ("source", "clause"),
    [
        (Source(contradictions=1), "1 text stands in the data with different labels, of which only one can be right"),
        (Source(contradictions=12), "12 texts stand in the data with different labels, of which only one can be right"),
        (Source(unread=200, of=5000), "of 200 of 5,000 messages only a part is read"),
        (Source(drift="the messages have drifted"), "the messages have drifted"),
        (Source(warnings=1), "the run warned once of its data or settings"),
        (Source(warnings=3), "the run warned 3 times of its data or settings"),
    ],
)
def test_what_earlier_steps_counted_is_told(source: Source, clause: str) -> None:
    assert told(source=source) == [clause]


def test_a_few_texts_cut_or_suspected_are_not() -> None:
    assert told(source=Source(unread=4, of=5000)) == []
    check = LabelCheck("logistic regression", accuracy=0.97, rows=4000, of_rows=4000, counted=90)
    assert told(replace(FINDINGS, label_check=check)) == ["the labels of 90 of 4,000 messages look wrong"]
    assert told(replace(FINDINGS, label_check=replace(check, counted=39))) == []
    assert told(replace(FINDINGS, label_check=replace(check, accuracy=0.7))) == []  # it does not understand the texts


def test_precision_that_falls_at_natural_class_shares_is_told() -> None:
    natural = {"precision": 0.62}
    assert told(natural_prevalence=natural) == [
        "at the class shares that messages come with only 62.0% of what is called spam would be spam, against 96.0% in"
        " the test split"
    ]
    assert told(natural_prevalence={"precision": 0.94}) == []
    assert told(replace(FINDINGS, positive=None), natural_prevalence=natural) == []


def test_few_test_messages_are_those_with_a_wide_interval() -> None:
    few = {**METRICS["test"], "rows": 80, "accuracy_interval": {"low": 0.91, "high": 0.99, "confidence": 0.95}}
    assert told(test=few) == ["80 test messages are few: accuracies 8 points apart may be the same"]


def test_labels_that_were_hardly_seen_are_told_with_the_rarest() -> None:
    counts = {"train": {"ham": 3000, "spam": 9}, "test": {"ham": 990, "spam": 10}}
    assert told(replace(FINDINGS, counts=counts)) == [
        "spam (9 training messages, 10 in the test split) was hardly seen"
    ]
    counts = {"train": {"ham": 3000, "spam": 9, "ad": 40}, "test": {"ham": 990, "spam": 10, "ad": 4}}
    assert told(replace(FINDINGS, counts=counts)) == [
        "spam (9 training messages, 10 in the test split) and 1 more label were hardly seen"
    ]


def part(what: str, value: str, accuracy: float, p_value: float, *, of_column: bool = False) -> Slice:
    return Slice(what, value, 120, accuracy, (accuracy - 0.05, accuracy + 0.05), 0.98, p_value, of_column)


@pytest.mark.parametrize(
    ("what", "value", "of_column", "words"),
    [
        ("links", "with", False, "with links"),
        ("capitals", "without", False, "without mostly capitals"),
        ("length", "longest quarter", False, "in the longest quarter by length"),
        ("script", "Greek", False, "in Greek"),
        ("channel", "web", True, "with web as channel"),
        ("links", "with", True, "with with as links"),
        ("length", "short", True, "with short as length"),
    ],
)
def test_a_part_that_is_worse_beyond_noise_is_told(what: str, value: str, of_column: bool, words: str) -> None:
    parts = (
        part(what, value, 0.8, 0.001, of_column=of_column),
        part("digits", "with", 0.7, 0.2),
        part("digits", "without", 0.99, 0.01),
    )
    assert told(replace(FINDINGS, slices=parts)) == [
        f"of the 120 test messages {words} only 80.0% are right, against 98.0% of the others"
    ]


def test_probabilities_that_mislead_beyond_chance_are_told() -> None:
    bins = (Bin(0.9, 1.0, 1000, 0.99, 0.94, (0.92, 0.96)),)
    sure = Calibration(bins, error=0.05, by_chance=0.02, log_loss=0.3)
    assert told(replace(FINDINGS, calibration=sure)) == ["its probabilities are too sure, by 5.0 points on average"]
    assert told(replace(FINDINGS, calibration=replace(sure, by_chance=0.06))) == []
    humble = Calibration((replace(bins[0], confidence=0.9),), error=0.04, by_chance=0.02, log_loss=0.3)
    assert told(replace(FINDINGS, calibration=humble)) == [
        "its probabilities are not sure enough, by 4.0 points on average"
    ]


def test_what_the_figures_are_worth_comes_before_what_would_improve_them() -> None:
    everything = Source(contradictions=1, unread=200, of=5000, warnings=1, drift="drifted")
    doubted = LabelCheck("logistic regression", accuracy=0.97, rows=4000, of_rows=4000, counted=90)
    leaked = replace(FINDINGS, leaks=(copies(40),), slices=(part("links", "with", 0.8, 0.001),), label_check=doubted)
    found = find_cautions(leaked, METRICS, everything)
    assert [each.topic for each in found] == [
        *("drift", "copies", "contradictions", "weak parts", "texts cut", "suspect labels", "the warnings")
    ]
