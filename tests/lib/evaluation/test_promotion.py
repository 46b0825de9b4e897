"""The paired test and the gate of a promotion, with numbers that can be checked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lib.evaluation.promotion import (
    BASELINE,
    MAJORITY,
    Decision,
    Duel,
    Figures,
    decide_duel,
    decide_first,
    duel,
    figures,
    page,
)
from lib.evaluation.significance import mcnemar


def test_a_false_positive_is_the_other_class_answered_with_the_positive_one() -> None:
    targets = ["spam", "spam", "ham", "ham", "ham", "ham"]
    answers = ["ham", "spam", "spam", "ham", "ham", "ham"]
    assert figures(targets, answers, positive="spam") == Figures(accuracy=4 / 6, false_positive_rate=1 / 4)
    assert figures(targets, answers, positive="ham") == Figures(accuracy=4 / 6, false_positive_rate=1 / 2)


def test_of_more_classes_the_rate_is_the_mean_over_them() -> None:
    targets = ["a", "a", "b", "c"]
    answers = ["a", "b", "b", "a"]
    # taken for a: one of b and c; for b: one of a, a, c; for c: none
    assert figures(targets, answers, positive=None).false_positive_rate == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    with pytest.raises(ValueError, match="no messages"):
        figures([], [], positive=None)


def test_a_duel_counts_where_only_one_is_right() -> None:
    fought = duel(["a", "a", "b", "b"], ["a", "a", "a", "b"], ["a", "b", "b", "a"], positive="b")
    assert (fought.messages, fought.wins, fought.losses, fought.p_value) == (4, 2, 1, 1.0)
    assert (fought.challenger.accuracy, fought.champion.accuracy) == (0.75, 0.5)


def decided(
    wins: int = 9, losses: int = 0, rates: tuple[float, float] = (0.01, 0.01), accuracy: float = 0.97, **gate: Any
) -> Decision:
    fought = Duel(
        messages=300,
        wins=wins,
        losses=losses,
        p_value=mcnemar(wins, losses),
        challenger=Figures(accuracy=accuracy, false_positive_rate=rates[0]),
        champion=Figures(accuracy=0.94, false_positive_rate=rates[1]),
    )
    rules: dict[str, Any] = {
        "majority": 0.5,
        "baseline": 0.96,
        "significance": 0.05,
        "max_false_positive_increase": 0.0,
        **gate,
    }
    return decide_duel(fought, champion="3", **rules)


def test_who_meets_every_condition_is_promoted_and_the_numbers_are_kept() -> None:
    decision = decided()
    assert decision.outcome == "promoted"
    assert decision.champion == "3"
    assert decision.numbers == {
        "accuracy": 0.97,
        "champion/accuracy": 0.94,
        "false_positive_rate": 0.01,
        "champion/false_positive_rate": 0.01,
        "wins": 9,
        "losses": 0,
        "p_value": 2 / 2**9,
        "baseline/accuracy": 0.96,
    }


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ({"wins": 0}, "not better than the champion beyond noise: 0 times only the challenger is right"),
        ({"wins": 5}, "not better than the champion beyond noise: 5 times"),  # p = 0.0625
        ({"wins": 9, "losses": 9}, "not better than the champion beyond noise"),
        ({"wins": 0, "losses": 9}, "not better than the champion beyond noise"),  # a difference, the wrong way
        ({"wins": 6, "significance": 0.01}, "not better than the champion beyond noise"),
        ({"rates": (0.02, 0.01)}, "not within the false-positive rate allowed: 2.00% against the champion's 1.00%"),
        ({"rates": (0.031, 0.01), "max_false_positive_increase": 0.02}, "not within the false-positive rate allowed"),
        ({"majority": 0.97}, "not better than the majority class: accuracy 97.00% against 97.00%"),
        ({"accuracy": 0.96}, "not better than the TF-IDF baseline: accuracy 96.00% against 96.00%"),  # a tie stays
    ],
)
def test_one_condition_that_is_not_met_keeps_the_champion_and_says_so(case: dict[str, Any], why: str) -> None:
    decision = decided(**case)
    assert decision.outcome == "kept"
    assert why in decision.why
    assert [condition.met for condition in decision.conditions].count(False) == 1


def test_the_allowed_increase_may_be_used_up() -> None:
    # 0.1 + 0.2 is 0.30000000000000004 in binary floating point, and 0.3 - 0.1 is less than 0.2
    assert decided(rates=(0.3, 0.1), max_false_positive_increase=0.2).outcome == "promoted"


def test_without_a_baseline_that_condition_is_left_out_and_the_decision_says_so() -> None:
    decision = decided(accuracy=0.51, baseline=None)
    assert decision.outcome == "promoted"
    assert "evaluation.baseline is off" in decision.why
    assert "baseline/accuracy" not in decision.numbers


def against(accuracy: float, wins: int, losses: int) -> Duel:
    """A version against something simple that has this accuracy."""
    simple = Figures(accuracy=accuracy, false_positive_rate=0.1)
    own = Figures(accuracy=0.9, false_positive_rate=0.2)
    p_value = mcnemar(wins, losses)
    return Duel(messages=300, wins=wins, losses=losses, p_value=p_value, challenger=own, champion=simple)


@pytest.mark.parametrize(
    ("wins_and_losses", "significance", "outcome"),
    [
        ((9, 0), 0.05, "first"),
        ((0, 5), 0.05, "first"),  # worse, and within noise: p = 0.0625
        ((0, 5), 0.1, "below baseline"),
        ((0, 6), 0.05, "below baseline"),
    ],
)
def test_the_first_is_champion_unless_something_simple_beats_it_beyond_noise(
    wins_and_losses: tuple[int, int], significance: float, outcome: str
) -> None:
    own = Figures(accuracy=0.9, false_positive_rate=0.2)
    better, other = against(0.75, 50, 5), against(0.91, *wins_and_losses)
    for rivals in ({MAJORITY: better, BASELINE: other}, {MAJORITY: other, BASELINE: better}, {MAJORITY: other}):
        decision = decide_first(own, rivals, significance=significance)
        assert decision.outcome == outcome
        assert "accuracy 90.00% on the frozen test set, the majority class " in decision.why
        assert decision.why.startswith("not made champion, ") is (outcome == "below baseline")
        assert decision.numbers["majority/accuracy"] == rivals[MAJORITY].champion.accuracy
        assert decision.numbers.get("baseline/accuracy") == (
            rivals[BASELINE].champion.accuracy if BASELINE in rivals else None
        )


def test_the_page_says_what_was_decided_and_which_condition_failed() -> None:
    text = page(decided(wins=3), name="sms", version="4", frozen="ab12")
    assert text.startswith("# sms version 4 stays challenger\n")
    assert "- **not** better than the champion beyond noise: 3 times" in text
    assert "- within the false-positive rate allowed: 1.00%" in text
    assert "| p value | 0.25 |" in text
    assert "`ab12`" in text
