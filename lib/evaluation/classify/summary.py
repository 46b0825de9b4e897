"""Sums an evaluation up in a verdict: from what metrics.json and findings.json hold to the three sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.evaluation.classify.cautions import Source, find_cautions
from lib.evaluation.classify.findings import BASELINE, CLASSIFIER, MAJORITY, Findings
from lib.evaluation.classify.model_card import short
from lib.evaluation.classify.verdict import Challenge, Measured, Rival, Verdict, judge


def summarise(findings: Findings, metrics: Mapping[str, Any], source: Source, challenge: Challenge | None) -> Verdict:
    """Returns the verdict. metrics: what metrics.json holds; challenge: None if nothing was registered."""
    return judge(
        measured(metrics["test"], findings.positive),
        rivals(findings, metrics["test"]["accuracy"]),
        challenge,
        find_cautions(findings, metrics, source),
    )


def measured(test: Mapping[str, Any], positive: str | None) -> Measured:
    """Returns how often the classifier is right, from the metrics of the test split."""
    interval, rows = test["accuracy_interval"], test["rows"]
    found = None
    if positive is not None and test["classes"][positive]["rows"]:
        of_positive = test["classes"][positive]
        found = (short(positive), round(of_positive["recall"] * of_positive["rows"]), of_positive["rows"])
    right = round(test["accuracy"] * rows)
    return Measured(rows, right, interval["low"], interval["high"], interval["confidence"], found)


def rivals(findings: Findings, accuracy: float) -> list[Rival]:
    """Returns what is simpler than the classifier, whose accuracy on the test split is given."""
    names = {
        BASELINE: ("TF-IDF with logistic regression", "TF-IDF"),
        MAJORITY: (f"always answering {short(findings.majority)}", "the majority"),
    }
    return [
        Rival(*names[test.second], accuracy - test.difference, test.wins, test.losses, test.adjusted)
        for test in findings.comparisons
        if test.first == CLASSIFIER
    ]
