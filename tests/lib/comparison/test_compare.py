"""What a comparison says of variants: values by hand, ties, failures, and how often it claims too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lib.comparison.compare import compare
from lib.comparison.values import Comparison, Measured, Row, Tried
from lib.evaluation.significance import holm, wilson_interval

MESSAGES = 200


def wrong_on(*messages: int) -> NDArray[np.bool_]:
    """Right on all messages but these."""
    right = np.ones(MESSAGES, bool)
    right[list(messages)] = False
    return right


def run(right: NDArray[np.bool_], *, seed: int = 0, seconds: float | None = 10.0, **rest: Any) -> Measured:
    metrics = {
        "accuracy": float(right.sum() / max(1, len(right))),
        "log_loss": rest.pop("log_loss", 0.1),
        **rest.pop("metrics", {}),
    }
    return Measured(seed, metrics, right, seconds, **rest)


def tried(name: str, *runs: Measured, **rest: Any) -> Tried:
    return Tried(name, rest.pop("changes", {}), rest.pop("state", "ran" if runs else "failed"), runs, **rest)


def found(*variants: Tried, metric: Any = "accuracy", confidence: float = 0.95) -> Comparison:
    return compare(variants, metric=metric, confidence=confidence)


def by_name(comparison: Comparison) -> Mapping[str, Row]:
    return {row.name: row for row in comparison.rows}


def test_variants_trained_once_are_compared_by_mcnemar_and_holm() -> None:
    rows = by_name(
        found(
            tried("base", run(wrong_on(*range(12)))),
            tried("better", run(wrong_on(0), seconds=30.0)),
            tried("alike", run(wrong_on(*range(1, 13)))),
            tried("worse", run(wrong_on(*range(30)), seconds=20.0)),
        )
    )
    assert (rows["base"].p_value, rows["base"].difference, rows["base"].relation) == (None, None, None)
    p_values = [stats.binomtest(*tosses).pvalue for tosses in ((11, 11), (1, 2), (0, 18))]
    assert [rows[name].p_value for name in ("better", "alike", "worse")] == pytest.approx(p_values)
    assert [rows[name].adjusted for name in ("better", "alike", "worse")] == pytest.approx(holm(p_values))
    assert [(row.wins, row.losses) for row in rows.values()] == [(None, None), (11, 0), (1, 1), (0, 18)]
    assert [row.relation for row in rows.values()] == [None, "better", "level", "worse"]
    assert [row.beyond_noise for row in rows.values()] == [False, True, False, True]
    assert rows["better"].difference == pytest.approx(11 / 200)
    assert (rows["better"].low, rows["better"].high) == wilson_interval(199, 200, 0.95)
    assert [row.on_front for row in rows.values()] == [True, True, True, False]
    assert [row.chosen for row in rows.values()] == [False, True, False, False]


def test_noise_is_what_the_confidence_says() -> None:
    variants = (tried("base", run(wrong_on(*range(6)))), tried("other", run(wrong_on())))  # p = 2 / 2**6
    assert [found(*variants, confidence=level).rows[1].beyond_noise for level in (0.95, 0.96, 0.97)] == [
        *(True, True),
        False,
    ]
    exact = (tried("base", run(wrong_on(*range(5)))), tried("other", run(wrong_on())))  # p = 2 / 2**5
    assert found(*exact, confidence=1 - 2 / 2**5).rows[1].beyond_noise


def test_repeats_are_means_with_a_deviation_and_an_interval_that_knows_of_seeds() -> None:
    seeds = [wrong_on(*range(4)), wrong_on(*range(12)), wrong_on(*range(8))]
    comparison = found(
        tried("base", *(run(right, seed=seed, seconds=10.0 + seed) for seed, right in enumerate(seeds))),
        tried("other", *(run(wrong_on(*range(10, 14 + seed)), seed=seed, trainable_parameters=7) for seed in range(3))),
    )
    base, other = comparison.rows
    assert base.repeats == 3
    assert (base.value, base.seconds, base.deviation) == pytest.approx((0.96, 11.0, 0.02))
    once = wilson_interval(192, 200, 0.95)
    assert base.low is not None
    assert base.high is not None
    assert base.low < once[0] < once[1] < base.high
    assert other.wins is None
    assert other.p_value is not None
    assert other.trainable_parameters == 7
    assert comparison.seed_share is not None
    assert 0.5 < comparison.seed_share <= 1
    assert any(sentence.startswith("The seed explains") for sentence in comparison.sentences)


def test_equal_values_are_decided_by_log_loss_then_size_then_order() -> None:
    right = wrong_on(1, 2)
    large = {"trainable_parameters": 100}
    assert found(tried("a", run(right)), tried("b", run(right, log_loss=0.09))).chosen == "b"
    assert found(tried("a", run(right, **large)), tried("b", run(right, trainable_parameters=10))).chosen == "b"
    assert found(tried("a", run(right)), tried("b", run(right, **large))).chosen == "b"  # the other's size is not known
    assert found(tried("a", run(right)), tried("b", run(right))).chosen == "a"
    # 0.95 + 0.99 and 0.97 + 0.97 differ in the last digit of a float only
    apart = [run(wrong_on(*range(10))), run(wrong_on(1, 2), seed=1)]
    level = [run(wrong_on(*range(6))), run(wrong_on(*range(6)), seed=1)]
    assert found(tried("a", *level), tried("b", *apart)).chosen == "a"
    assert found(tried("a", *apart), tried("b", *level)).chosen == "a"


def test_the_least_log_loss_is_chosen_where_it_is_the_metric() -> None:
    comparison = found(
        tried("base", run(wrong_on(1), log_loss=0.3, seconds=1.0)),
        tried("sure", run(wrong_on(1, 2), log_loss=0.1, seconds=2.0)),
        tried("slow", run(wrong_on(), log_loss=0.2, seconds=3.0)),
        metric="log_loss",
    )
    assert comparison.chosen == "sure"
    assert [row.on_front for row in comparison.rows] == [True, True, False]
    assert [row.low for row in comparison.rows] == [None] * 3
    assert comparison.rows[1].difference == pytest.approx(-0.2)
    assert comparison.intervals.startswith("no intervals")
    assert "log loss on 200 validation messages is 0.1000, the best of 3" in comparison.sentences[0]
    assert comparison.sentences[1].startswith("By its right labels, 99.00%, it is no better and no worse beyond noise")


def test_a_metric_that_was_not_measured_cannot_be_chosen_by() -> None:
    without = tried("base", run(wrong_on(1), metrics={"roc_auc": None}))
    diverged = tried("diverged", run(wrong_on(1), metrics={"roc_auc": float("nan")}))
    comparison = found(without, diverged, tried("other", run(wrong_on(1), metrics={"roc_auc": 0.7})), metric="roc_auc")
    assert comparison.chosen == "other"
    assert [row.value for row in comparison.rows] == [None, None, 0.7]
    assert comparison.rows[2].difference is None
    assert comparison.rows[2].p_value == 1.0
    nothing = found(without, metric="roc_auc")
    assert nothing.chosen is None
    assert nothing.sentences == ("No variant is chosen, because none has a value of area under ROC.",)


def test_where_the_first_failed_the_others_are_compared_with_the_next_one() -> None:
    comparison = found(
        tried("first", reason="it ran out of memory"),
        tried("second", state="pruned"),
        tried("third", run(wrong_on(1))),
        tried("fourth", run(wrong_on(2, 3))),
    )
    assert (comparison.reference, comparison.chosen) == ("third", "third")
    assert comparison.rows[3].p_value == 1.0
    told = " ".join(comparison.sentences)
    assert "The variants are compared with third, because first, the first one, failed." in told
    assert "Of 4 variants 1 failed: first." in told
    assert "Of 4 variants 1 was pruned: stopped early, because it was behind the others." in told
    assert [row.repeats for row in comparison.rows] == [0, 0, 1, 1]


def test_where_all_failed_nothing_is_chosen() -> None:
    comparison = found(tried("a"), tried("b"))
    assert (comparison.chosen, comparison.reference, comparison.messages) == (None, None, 0)
    assert comparison.sentences == (
        "No variant is chosen, because none has a value of accuracy.",
        "Of 2 variants 2 failed: a, b.",
    )


def test_one_variant_alone_is_chosen_and_compared_with_nothing() -> None:
    comparison = found(tried("only", run(wrong_on(1, 2, 3))))
    assert comparison.chosen == comparison.reference == "only"
    assert comparison.rows[0].p_value is None
    assert comparison.sentences == (
        "only is chosen: its accuracy on 200 validation messages is 98.50% (95% interval 95.68% to 99.49%).",
    )


def test_what_is_no_candidate_is_compared_and_never_chosen() -> None:
    comparison = found(
        tried("TF-IDF", run(wrong_on()), candidate=False),
        tried("base", run(wrong_on(*range(9)))),
        tried("other", run(wrong_on(*range(7)))),
    )
    assert (comparison.reference, comparison.chosen) == ("base", "other")
    assert comparison.rows[0].relation == "better"
    assert comparison.rows[0].on_front
    assert "TF-IDF, which cannot be chosen, comes to 100.00%, and none of the 2 variants is better." in (
        comparison.sentences
    )


def test_equal_variants_are_level_and_the_sentences_say_so() -> None:
    comparison = found(*(tried(name, run(wrong_on(3))) for name in "abc"))
    assert [row.adjusted for row in comparison.rows] == [None, 1.0, 1.0]
    assert comparison.chosen == "a"
    assert comparison.sentences == (
        "a is chosen: its accuracy on 200 validation messages is 99.50% (95% interval 97.22% to 99.91%), the best of"
        " 3.",
        "None of the 2 others is worse beyond noise, so that a cheaper one may do as well.",
        "The best of 3 on the same messages looks better than it is, because chance helped to choose it: what it is"
        " worth, the test split says.",
    )
    repeated = found(*(tried(name, run(wrong_on(3)), run(wrong_on(3), seed=1)) for name in "abc"))
    assert repeated.seed_share is None
    assert [row.adjusted for row in repeated.rows] == [None, 1.0, 1.0]


def test_who_wins_beyond_noise_is_told_with_the_correction() -> None:
    comparison = found(
        tried("base", run(wrong_on(*range(12)))),
        tried("a", run(wrong_on(0))),
        tried("b", run(wrong_on(*range(9)))),
    )
    assert comparison.sentences[1] == (
        "It is better beyond noise than base (94.00%; p = 0.0020, corrected for 2 comparisons)."
    )


def test_only_the_same_messages_and_different_names_can_be_compared() -> None:
    for other in (np.ones(3, bool), np.ones(0, bool)):
        with pytest.raises(ValueError, match="not the same messages"):
            found(tried("a", run(wrong_on())), tried("b", run(other)))
    with pytest.raises(ValueError, match="same name"):
        found(tried("a", run(wrong_on())), tried("a", run(wrong_on())))


@pytest.mark.parametrize("repeats", [1, 3])
def test_equal_variants_are_seldom_told_apart(repeats: int) -> None:
    """Of comparisons of six equal variants, those with any claim; seeds and messages both differ."""
    generator = np.random.default_rng(repeats)
    claims = 0
    for _ in range(100):
        hard = generator.normal(4, 2, MESSAGES) + generator.normal(0, 1, (6, 1, MESSAGES))
        logits = hard + generator.normal(0, 0.3 if repeats > 1 else 0, (6, repeats, 1))
        right = logits + generator.logistic(size=(6, repeats, MESSAGES)) > 0
        comparison = found(*(tried(f"{place}", *map(run, of_variant)) for place, of_variant in enumerate(right)))
        claims += any(row.beyond_noise for row in comparison.rows)
    assert claims <= 0.05 * 100 + 2 * np.sqrt(100 * 0.05 * 0.95)
