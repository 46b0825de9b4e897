"""Which candidate serves: the fastest that answers as float32 does, and why others may not, on figures made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lib.evaluation.classify.agreement import (
    SAME_SPEED,
    TOSS_UP,
    Agreement,
    Candidate,
    Choice,
    choose,
    measure_agreement,
    refusal,
)
from lib.evaluation.classify.speed import Speed
from lib.evaluation.significance import mcnemar

LABELS = ("a", "b", "c")


def agreement(
    reference: NDArray[np.float64],
    candidate: NDArray[np.float64],
    targets: list[int],
    *,
    labels: tuple[str, ...] = LABELS,
    positive: str | None = None,
    threshold: float = 0.5,
) -> Agreement:
    return measure_agreement(
        np.array(targets), candidate, reference, labels=labels, positive=positive, threshold=threshold
    )


def flipping(flips: int, messages: int, *, by: float = 0.6, wrong: int = 0) -> Agreement:
    """A candidate that gives `flips` of the messages another label, `wrong` of them wrongly and the rest rightly."""
    reference = np.tile([0.5 + by / 2, 0.5 - by / 2, 0.0], (messages, 1))
    candidate = reference.copy()
    candidate[:flips] = reference[:flips, [1, 0, 2]]
    return agreement(reference, candidate, [0] * wrong + [1] * (flips - wrong) + [0] * (messages - flips))


def candidate(name: str, found: Agreement, *, rate: float, milliseconds: float = 1.0) -> Candidate:
    return Candidate(name, found, Speed(rate, milliseconds))


def test_four_messages_by_hand() -> None:
    reference = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.4, 0.35, 0.25], [0.2, 0.3, 0.5]])
    candidate = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.38, 0.39, 0.23], [0.2, 0.3, 0.5]])
    found = agreement(reference, candidate, [0, 1, 1, 1])
    assert (found.messages, found.flips, found.toss_ups, found.flip_share) == (4, 2, 1, 0.5)
    assert (found.largest_difference, found.difference_99) == pytest.approx((0.4, 0.4))
    assert (found.accuracy, found.reference_accuracy) == (0.5, 0.5)  # one right answer lost, one won
    assert found.p_value == mcnemar(1, 1) == 1


def test_of_two_hundred_differences_the_99_percent_leave_out_two() -> None:
    reference = np.tile([0.9, 0.1, 0.0], (200, 1))
    moved = reference + np.outer(np.r_[0.3, 0.2, np.full(198, 0.01)], [-1, 1, 0])
    found = agreement(reference, moved, [0] * 200)
    assert (found.largest_difference, found.difference_99) == pytest.approx((0.3, 0.01))


def test_the_threshold_decides_what_is_a_flip() -> None:
    reference, moved = np.array([[0.35, 0.65], [0.05, 0.95]]), np.array([[0.45, 0.55], [0.15, 0.85]])
    for threshold, flips in ((0.5, 0), (0.9, 1)):
        found = agreement(reference, moved, [1, 1], labels=("ham", "spam"), positive="spam", threshold=threshold)
        assert found.flips == flips


def test_what_is_not_a_number_is_a_flip_and_wrong() -> None:
    reference = np.tile([0.9, 0.1, 0.0], (2, 1))
    broken = reference.copy()
    broken[0] = np.nan
    found = agreement(reference, broken, [0, 0])
    assert (found.flips, found.toss_ups, found.largest_difference, found.accuracy) == (1, 0, 1.0, 0.5)


def test_other_shapes_and_no_messages_are_refused() -> None:
    with pytest.raises(ValueError, match="not the same"):
        agreement(np.ones((2, 3)), np.ones((1, 3)), [0, 0])
    with pytest.raises(ValueError, match="not the same"):
        agreement(np.ones((0, 3)), np.ones((0, 3)), [])


@pytest.mark.parametrize(("flips", "messages", "accepted"), [(0, 300, True), (3, 3000, True), (4, 3000, False)])
def test_a_share_of_the_messages_may_flip(flips: int, messages: int, accepted: bool) -> None:
    assert (refusal(flipping(flips, messages), 0.001) is None) == accepted


def test_among_few_messages_one_toss_up_may_flip_and_nothing_else() -> None:
    assert refusal(flipping(1, 300, by=TOSS_UP / 2), 0.001) is None
    assert refusal(flipping(2, 300, by=TOSS_UP / 2), 0.001) is not None
    assert refusal(flipping(1, 300, by=2 * TOSS_UP), 0.001) == (
        "gives 1 of 300 messages another label than float32 (0.33%, at most 0.10%)"
    )
    assert refusal(flipping(1, 300, by=TOSS_UP / 2), 0.0) is not None  # nobody asked for any


def test_worse_beyond_noise_is_refused_whatever_may_flip() -> None:
    assert refusal(flipping(5, 1000, wrong=5), 0.01) is None  # p = 0.0625
    assert refusal(flipping(6, 1000, wrong=6), 0.01) == (
        "is less accurate than float32 beyond noise (99.40% against 100.00%, p = 0.031)"
    )
    assert refusal(flipping(6, 1000), 0.01) is None  # six more are right


def test_the_fastest_acceptable_candidate_serves() -> None:
    same, damaged = flipping(0, 1000), flipping(180, 1000, wrong=180)
    chosen = choose(
        [
            candidate("float32", same, rate=100),
            candidate("bfloat16", flipping(1, 1000), rate=240),
            candidate("int8", damaged, rate=900),
        ],
        0.001,
    )
    assert chosen == Choice(
        "bfloat16", {"int8": "gives 180 of 1,000 messages another label than float32 (18.00%, at most 0.10%)"}
    )


def test_the_same_throughput_is_decided_by_the_time_for_one_text() -> None:
    same = flipping(0, 1000)
    slower = 1 - SAME_SPEED / 2
    pair = [candidate("int8", same, rate=100, milliseconds=5), candidate("blocks", same, rate=100 * slower)]
    assert choose(pair, 0.001).name == "blocks"
    pair[1] = candidate("blocks", same, rate=100 * (1 - 2 * SAME_SPEED))
    assert choose(pair, 0.001).name == "int8"


def test_float32_must_be_among_the_candidates() -> None:
    with pytest.raises(ValueError, match="float32"):
        choose([candidate("int8", flipping(180, 1000), rate=900)], 0.001)
