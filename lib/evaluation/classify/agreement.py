"""Judges candidates to serve a classifier with: whether each answers as float32 does, and which of those is fastest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.classify.speed import Speed
from lib.evaluation.significance import mcnemar
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels

SIGNIFICANCE = 0.05  # largest p-value at which being less accurate counts as more than noise
TOSS_UP = 0.05  # by which the probabilities of a message may move that lies on the border between two labels
SAME_SPEED = 0.05  # share of the throughput by which two measurements of one thing may differ


@dataclass(frozen=True)
class Agreement:
    """A candidate's answers beside those of the reference, which is float32, to the same messages.

    flips: messages with another label. toss_ups: those of them whose probabilities move by at most `TOSS_UP`.
    largest_difference, difference_99: a message's difference is the most by which any of its probabilities moves (1
    where one is not a number): the largest, and the one that 99 % of the messages do not exceed.
    accuracy, reference_accuracy: shares of messages with the right label. p_value: of McNemar's exact test that both
    are equally accurate.
    """

    messages: int
    flips: int
    toss_ups: int
    largest_difference: float
    difference_99: float
    accuracy: float
    reference_accuracy: float
    p_value: float

    @property
    def flip_share(self) -> float:
        """The share of messages with another label."""
        return self.flips / self.messages


@dataclass(frozen=True)
class Candidate:
    """A way to serve a classifier, as it was measured."""

    name: str
    agreement: Agreement
    speed: Speed


@dataclass(frozen=True)
class Choice:
    """The candidate that serves, and why others may not: a phrase by name."""

    name: str
    refused: dict[str, str]


def measure_agreement(
    targets: Targets,
    candidate: Probabilities,
    reference: Probabilities,
    *,
    labels: tuple[str, ...],
    positive: str | None,
    threshold: float = MOST_PROBABLE,
) -> Agreement:
    """Compares the probabilities (messages, classes) of a candidate with those of the reference.

    targets: the right labels (messages,), as indices. `given_labels` says which label is given. A message with a
    probability that is not a number gets no label, so it is a flip and wrong. Raises ValueError without messages, or if
    the shapes differ.
    """
    if not len(targets) == len(candidate) == len(reference) > 0 or candidate.shape != reference.shape:
        raise ValueError(f"{len(targets)} targets, {candidate.shape} and {reference.shape} probabilities: not the same")
    broken = ~np.isfinite(candidate).all(axis=1)
    given = given_labels(candidate, labels=labels, positive=positive, threshold=threshold)
    expected = given_labels(reference, labels=labels, positive=positive, threshold=threshold)
    difference = np.where(broken, 1.0, np.abs(candidate - reference).max(axis=1))
    flipped = broken | (given != expected)
    right, expected_right = (given == targets) & ~broken, expected == targets
    wins, losses = int((right & ~expected_right).sum()), int((expected_right & ~right).sum())
    return Agreement(
        messages=len(targets),
        flips=int(flipped.sum()),
        toss_ups=int((flipped & (difference <= TOSS_UP)).sum()),
        largest_difference=float(difference.max()),
        difference_99=float(np.quantile(difference, 0.99, method="inverted_cdf")),
        accuracy=float(right.mean()),
        reference_accuracy=float(expected_right.mean()),
        p_value=mcnemar(wins, losses),
    )


def choose(candidates: Sequence[Candidate], largest_flip_share: float) -> Choice:
    """Returns the fastest candidate that answers as float32 does, and why others do not.

    Candidates of the same throughput (within `SAME_SPEED`) are told apart by the time for one text. The reference,
    which agrees with itself, must be among the candidates, so that one is always acceptable; raises ValueError if
    none is.
    """
    reasons = {each.name: refusal(each.agreement, largest_flip_share) for each in candidates}
    accepted = [each for each in candidates if reasons[each.name] is None]
    if not accepted:
        raise ValueError("no candidate is acceptable, so float32 is not among them")
    most = max(each.speed.messages_per_second for each in accepted)
    fastest = [each for each in accepted if each.speed.messages_per_second >= (1 - SAME_SPEED) * most]
    return Choice(
        name=min(fastest, key=lambda each: each.speed.milliseconds).name,
        refused={name: reason for name, reason in reasons.items() if reason is not None},
    )


def refusal(agreement: Agreement, largest_flip_share: float) -> str | None:
    """Returns why a candidate may not serve, or None if it may.

    It may flip `largest_flip_share` of the messages, rounded down. Few messages round down to none (0.1 % of 300), and
    cannot show so small a share either way: without a flip among 300 the true share may well be 1 % (the rule of three
    of J. A. Hanley and A. Lippman-Hand, JAMA 249, 1983). There one flip is allowed if it is a toss-up: the label of a
    message on the border says nothing of a candidate whose probabilities hardly moved, and any rounding may turn it. A
    flip with a larger difference is what damage looks like, and is refused.
    """
    allowed = int(largest_flip_share * agreement.messages + 1e-9)
    if allowed == 0 < largest_flip_share and agreement.toss_ups == agreement.flips == 1:
        allowed = 1
    if agreement.flips > allowed:
        return (
            f"gives {agreement.flips:,} of {agreement.messages:,} messages another label than float32"
            f" ({agreement.flip_share:.2%}, at most {largest_flip_share:.2%})"
        )
    if agreement.accuracy < agreement.reference_accuracy and agreement.p_value <= SIGNIFICANCE:
        return (
            f"is less accurate than float32 beyond noise ({agreement.accuracy:.2%} against"
            f" {agreement.reference_accuracy:.2%}, p = {agreement.p_value:.2g})"
        )
    return None
