"""Finds in an evaluation what should make its readers doubt it, the most important first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.label_check import LabelCheck, doubts_warning
from lib.evaluation.classify.leakage import Leak
from lib.evaluation.classify.model_card import short
from lib.evaluation.classify.slices import Slice
from lib.evaluation.classify.verdict import SIGNIFICANCE, Caution

LEAST_SHARE = 0.01  # of messages that something must concern to be said first of all
WIDE = 0.05  # width of the accuracy's interval from which on there are too few test messages
FEW_TRAINING, FEW_TEST = 10, 5  # messages of a label: fewer can hardly be learned, and not be measured
PRECISION_LOST = 0.05  # from the test split to the natural class shares
MISCALIBRATED = 0.02  # expected calibration error, which also is beyond chance


@dataclass(frozen=True)
class Source:
    """What earlier steps counted.

    contradictions: texts that stand there with different labels. unread, of: messages of which only a part is read, and
    all of them. warnings: how often the steps warned. drift: a clause about what scoring found since; empty if that is
    not known.
    """

    contradictions: int = 0
    unread: int = 0
    of: int = 0
    warnings: int = 0
    drift: str = ""


def find_cautions(findings: Findings, metrics: Mapping[str, Any], source: Source) -> list[Caution]:
    """Returns what to beware of. What the figures are worth comes before what would improve them: messages that are no
    longer what they were, copies, contradictions and other class shares before few messages, parts where the classifier
    is worse, texts cut, probabilities that mislead, and labels that look wrong. metrics: what metrics.json holds."""
    test = metrics["test"]
    found: Sequence[Iterator[Caution]] = (
        _drift(source),
        _copies(findings.leaks, metrics),
        _contradictions(source),
        _prevalence(findings.positive, metrics),
        _few_rows(test),
        _hardly_seen(findings.counts),
        _slices(findings.slices),
        _unread(source),
        _calibration(findings, test["rows"]),
        _suspects(findings.label_check),
        _warnings(source),
    )
    return [caution for some in found for caution in some]


def copied_rows(found: Sequence[Leak]) -> set[int]:
    """Returns the rows of the test split that have a copy, exact or near, in another split."""
    return {each.row for leak in found if leak.split == "test" for each in leak.copies}


def _drift(source: Source) -> Iterator[Caution]:
    if source.drift:
        yield Caution("drift", source.drift)


def _copies(found: Sequence[Leak], metrics: Mapping[str, Any]) -> Iterator[Caution]:
    rows, test = len(copied_rows(found)), metrics["test"]
    if rows < LEAST_SHARE * test["rows"]:
        return
    rest = metrics.get("test_without_copies")
    without = f", and without them {rest['accuracy']:.2%} are right" if rest else ""
    share = rows / test["rows"]
    yield Caution(
        "copies",
        f"{rows:,} of the {test['rows']:,} test messages ({share:.1%}) have a copy in another split, or nearly one"
        f"{without}",
    )


def _contradictions(source: Source) -> Iterator[Caution]:
    if source.contradictions:
        texts = "1 text stands" if source.contradictions == 1 else f"{source.contradictions:,} texts stand"
        yield Caution("contradictions", f"{texts} in the data with different labels, of which only one can be right")


def _prevalence(positive: str | None, metrics: Mapping[str, Any]) -> Iterator[Caution]:
    natural, test = metrics.get("natural_prevalence"), metrics["test"]
    if positive is None or not natural or natural["precision"] > test["precision"] - PRECISION_LOST:
        return
    yield Caution(
        "class shares",
        f"at the class shares that messages come with only {natural['precision']:.1%} of what is called"
        f" {short(positive)} would be {short(positive)}, against {test['precision']:.1%} in the test split",
    )


def _few_rows(test: Mapping[str, Any]) -> Iterator[Caution]:
    interval = test["accuracy_interval"]
    width = interval["high"] - interval["low"]
    if width > WIDE:
        yield Caution(
            "few test messages",
            f"{test['rows']:,} test messages are few: accuracies {100 * width:.0f} points apart may be the same",
        )


def _hardly_seen(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Caution]:
    learned, measured = counts["train"], counts["test"]
    rare = [label for label in learned if learned[label] < FEW_TRAINING or 0 < measured.get(label, 0) < FEW_TEST]
    if not rare:
        return
    rarest = min(rare, key=lambda label: (learned[label], measured.get(label, 0)))
    more = len(rare) - 1
    others = f" and {more:,} more label{'s' if more > 1 else ''} were hardly seen" if more else " was hardly seen"
    yield Caution(
        "rare labels",
        f"{short(rarest)} ({learned[rarest]:,} training messages, {measured.get(rarest, 0):,} in the test split)"
        f"{others}",
    )


def _slices(slices: Sequence[Slice]) -> Iterator[Caution]:
    worse = [each for each in slices if each.p_value <= SIGNIFICANCE and each.accuracy < each.accuracy_of_rest]
    if not worse:
        return
    worst = min(worse, key=lambda each: each.accuracy)
    others = f" ({len(worse) - 1:,} more such parts)" if len(worse) > 1 else ""
    yield Caution(
        "weak parts",
        f"of the {worst.rows:,} test messages {part_in_words(worst)} only {worst.accuracy:.1%} are right, against"
        f" {worst.accuracy_of_rest:.1%} of the others{others}",
    )


def part_in_words(part: Slice) -> str:
    """Returns which messages a slice has, to follow "messages"."""
    if part.of_column:
        return f"with {short(part.value)} as {short(part.what)}"
    if part.value in ("with", "without"):
        return f"{part.value} {'mostly capitals' if part.what == 'capitals' else part.what}"
    if part.what == "length":
        return f"in the {part.value} by length"
    return f"in {part.value}"


def _unread(source: Source) -> Iterator[Caution]:
    if source.of and source.unread >= LEAST_SHARE * source.of:
        yield Caution("texts cut", f"of {source.unread:,} of {source.of:,} messages only a part is read")


def _calibration(findings: Findings, rows: int) -> Iterator[Caution]:
    found = findings.calibration
    if found.error <= max(found.by_chance, MISCALIBRATED):
        return
    sure = sum(each.rows * each.confidence for each in found.bins) / rows
    right = sum(each.rows * each.accuracy for each in found.bins) / rows
    direction = "too sure" if sure > right else "not sure enough"
    yield Caution("probabilities", f"its probabilities are {direction}, by {100 * found.error:.1f} points on average")


def _suspects(check: LabelCheck | None) -> Iterator[Caution]:
    if check is not None and doubts_warning(check) is not None:
        yield Caution("suspect labels", f"the labels of {check.counted:,} of {check.rows:,} messages look wrong")


def _warnings(source: Source) -> Iterator[Caution]:
    if source.warnings:
        times = "once" if source.warnings == 1 else f"{source.warnings:,} times"
        yield Caution("the warnings", f"the run warned {times} of its data or settings")
