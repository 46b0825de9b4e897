"""Intervals and tests against published values, SciPy, and a second way to the same number."""

import time
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from lib.evaluation.significance import holm, mcnemar, paired_tests, wilson_interval


def test_wilson_interval_agrees_with_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert wilson_interval(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148, 0.95) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20, 0.95) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29, 0.95) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_interval_ends_at_zero_and_one() -> None:
    assert wilson_interval(0, 7, 0.9)[0] == 0.0
    assert wilson_interval(7, 7, 0.9)[1] == 1.0


@pytest.mark.parametrize(("hits", "rows"), [(0, 5), (291, 300), (1_000, 2_001), (7, 7)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_interval_agrees_with_scipy(hits: int, rows: int, confidence: float) -> None:
    theirs = stats.binomtest(hits, rows).proportion_ci(confidence, method="wilson")
    assert wilson_interval(hits, rows, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_covers_what_it_says_in_2000_draws() -> None:
    """Accuracies as people meet them; the exact coverage is near 95 % and depends on the number a little."""
    generator = np.random.default_rng(0)
    for truth, rows in ((0.75, 300), (0.9, 500), (0.97, 1_000)):
        hits = generator.binomial(rows, truth, size=2_000).tolist()
        covered = [low <= truth <= high for low, high in (wilson_interval(each, rows, 0.95) for each in hits)]
        assert 0.94 <= np.mean(covered) <= 0.96, (truth, rows)


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [
        (0, 0, 1.0),  # nobody disagrees
        (3, 3, 1.0),
        (5, 0, 2 / 2**5),  # five heads of five tosses, or five tails
        (6, 0, 2 / 2**6),  # the least that is below 0.05
        (1, 7, 2 * (1 + 8) / 2**8),
        (86, 150, 3.716e-05),  # approval of a prime minister, A. Agresti, Categorical Data Analysis (1990)
    ],
)
def test_mcnemar_is_the_exact_two_sided_binomial_test(wins: int, losses: int, expected: float) -> None:
    assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-4)
    assert mcnemar(losses, wins) == mcnemar(wins, losses)


def test_mcnemar_of_many_disagreements_neither_overflows_nor_is_slow() -> None:
    assert 0 < mcnemar(4_900, 5_100) < 0.05
    assert mcnemar(0, 5_000) == 0.0  # 2^-4999 is nothing in a float
    begun = time.process_time()
    assert mcnemar(400_000, 600_000) == 0.0  # a minute in whole numbers
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("wins", "losses"), [(0, 3), (12, 4), (40, 41), (5_001, 5_000), (4_900, 5_200), (1_200_000, 1_203_000), (10_001, 0)]
)
def test_mcnemar_agrees_with_scipy(wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue
    assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-12 if wins + losses <= 10_000 else 1e-7)


def closed_testing(p_values: list[float]) -> list[float]:
    """The same by its definition: the largest Bonferroni p-value of all sets of hypotheses that one belongs to."""
    every = range(len(p_values))
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(every, size)]
    return [
        max(min(1.0, len(chosen) * min(p_values[k] for k in chosen)) for chosen in sets if index in chosen)
        for index in every
    ]


def test_holm_is_bonferroni_closed_under_intersection() -> None:
    generator = np.random.default_rng(3)
    for size in range(7):
        p_values = (generator.random(size) ** 3).tolist()
        assert holm(p_values) == pytest.approx(closed_testing(p_values), rel=1e-12)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])  # 3 * 0.01; 2 * 0.03; not less than that
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_any_two_are_compared_and_corrected_together() -> None:
    right = {
        "model": np.array([True] * 9 + [False]),
        "baseline": np.array([True] * 3 + [False] * 7),
        "majority": np.array([False] * 2 + [True] * 3 + [False] * 5),
    }
    tests = paired_tests(right)
    assert [(each.first, each.second, each.wins, each.losses) for each in tests] == [
        ("model", "baseline", 6, 0), ("model", "majority", 6, 0), ("baseline", "majority", 2, 2),
    ]  # fmt: skip
    assert tests[0].difference == pytest.approx(0.6)
    assert [each.p_value for each in tests] == [2 / 64, 2 / 64, 1.0]
    assert [each.adjusted for each in tests] == [6 / 64, 6 / 64, 1.0]
    (alone,) = paired_tests(right, [("model", "majority")])
    assert alone.adjusted == alone.p_value == 2 / 64


def test_only_the_same_messages_can_be_compared() -> None:
    for second in (2, 0):
        with pytest.raises(ValueError, match="not the same messages"):
            paired_tests({"a": np.ones(second and 3, bool), "b": np.ones(second, bool)})
