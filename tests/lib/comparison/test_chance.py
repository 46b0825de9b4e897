"""The chance of seeds and of messages against SciPy, a second way to the same number, and simulations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lib.comparison.chance import Shares, interval, p_value, seed_share, sign_flip
from lib.evaluation.significance import mcnemar, wilson_interval


def shares(right: NDArray[np.bool_]) -> Shares:
    """Of (runs, messages)."""
    return Shares.of(list(right))


def trained(
    generator: np.random.Generator, runs: int, messages: int, *, of_seed: float, of_variant: float, variants: int
) -> NDArray[np.bool_]:
    """Equally good variants: (variants, runs, messages), right where a logit is above 0, which is made of how hard the
    message is, what the variant and what the seed are to it. Some 97 % are right."""
    hard = generator.normal(6, 2, messages)
    to_variant = generator.normal(0, of_variant, (variants, 1, messages))
    lucky = generator.normal(0, of_seed, (variants, runs, 1))
    return np.asarray(hard + to_variant + lucky + generator.logistic(size=(variants, runs, messages)) > 0)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 0), (9, 3), (12, 4), (40, 41), (860, 1500)])
def test_flipped_signs_of_single_messages_are_mcnemars_test(wins: int, losses: int) -> None:
    differences = np.repeat([1, -1, 0], [wins, losses, 100])
    assert sign_flip(differences) == pytest.approx(mcnemar(wins, losses), rel=1e-6, abs=1e-12)
    assert sign_flip(-3 * differences) == pytest.approx(sign_flip(differences), rel=1e-9)


def test_flipped_signs_are_counted_as_if_all_were_written_out() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        differences = generator.integers(-6, 7, size=9)
        sums = [abs(int(np.dot(signs, differences))) for signs in product((-1, 1), repeat=9)]
        expected = np.mean([each >= abs(differences.sum()) for each in sums])
        assert sign_flip(differences) == pytest.approx(expected, abs=1e-12)


def test_many_flipped_signs_go_over_into_the_normal_distribution() -> None:
    differences = np.random.default_rng(1).choice([-2, -1, 1, 2], size=9_990, p=[0.24, 0.25, 0.25, 0.26])
    exact = sign_flip(differences)
    assert sign_flip(np.concatenate([differences, [1, -1] * 6])) == pytest.approx(exact, rel=0.02)


def test_the_chance_of_seeds_alone_is_welchs_test() -> None:
    """Messages that all stand for the same leave no chance of theirs: every training is right or wrong on all."""
    first, second = shares(np.repeat([[1], [1], [0], [1]], 50, axis=1) > 0), shares(np.zeros((3, 50), bool))
    expected = stats.ttest_ind(first.of_runs, second.of_runs, equal_var=False).pvalue
    assert p_value(first, second) == pytest.approx(expected, rel=1e-9)


def test_the_chance_of_messages_alone_is_the_exact_test() -> None:
    """Trainings that are all alike leave no chance of the seed's."""
    generator = np.random.default_rng(2)
    first, second = generator.random(300) < 0.97, generator.random(300) < 0.94
    once = mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
    together = p_value(shares(np.stack([first] * 3)), shares(np.stack([second] * 3)))
    paired = stats.ttest_rel(first.astype(float), second.astype(float)).pvalue
    assert together == pytest.approx(max(once, paired), rel=1e-9)


def test_both_chances_are_clarks_minimal_f() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.random((4, 500)) < 0.95, generator.random((4, 500)) < 0.92
    seeds = stats.ttest_ind(first.mean(axis=1), second.mean(axis=1)).statistic ** 2
    messages = stats.ttest_1samp(first.mean(axis=0) - second.mean(axis=0), 0).statistic ** 2
    minimal = seeds * messages / (seeds + messages)
    variances = first.mean(axis=1).var(ddof=1), second.mean(axis=1).var(ddof=1)
    of_messages = (first.mean(axis=0) - second.mean(axis=0)).var(ddof=1) / 500
    whole = sum(variances) / 4 + of_messages
    freedom = whole**2 / (sum((each / 4) ** 2 / 3 for each in variances) + of_messages**2 / 499)
    assert p_value(shares(first), shares(second)) == pytest.approx(stats.f.sf(minimal, 1, freedom), rel=1e-9)


def test_a_variant_trained_once_is_taken_to_vary_as_the_other() -> None:
    many, once = np.random.default_rng(4).random((3, 200)) < 0.9, np.random.default_rng(5).random((1, 200)) < 0.9
    assert p_value(shares(many), shares(once)) == pytest.approx(p_value(shares(once), shares(many)))
    certain = np.ones((1, 200), bool)
    assert 0.001 < p_value(shares(many), shares(certain)) < 1
    assert p_value(shares(np.ones((3, 9), bool)), shares(np.ones((1, 9), bool))) == 1.0


@pytest.mark.parametrize(("of_seed", "of_variant"), [(0.0, 0.0), (0.0, 2.0), (0.3, 2.0), (0.8, 0.5)])
@pytest.mark.parametrize("runs", [2, 3, 5])
def test_at_most_one_false_claim_in_twenty_where_variants_are_equal(
    runs: int, of_seed: float, of_variant: float
) -> None:
    generator = np.random.default_rng(runs)
    claims = 0
    for _ in range(400):
        first, second = trained(generator, runs, 300, of_seed=of_seed, of_variant=of_variant, variants=2)
        claims += p_value(shares(first), shares(second)) <= 0.05
    assert claims <= 0.05 * 400 + 2 * np.sqrt(400 * 0.05 * 0.95)


def test_a_real_difference_is_found() -> None:
    generator = np.random.default_rng(6)
    hard = generator.normal(3, 2, 500)
    found = 0
    for _ in range(50):
        first, second = (hard + better + generator.logistic(size=(3, 500)) > 0 for better in (1.5, 0.0))
        found += p_value(shares(first), shares(second)) <= 0.05
    assert found >= 45


def test_one_training_has_wilsons_interval() -> None:
    right = np.arange(300) >= 9
    assert interval(shares(right[None]), 0.95) == wilson_interval(291, 300, 0.95)


def test_trainings_that_are_alike_have_wilsons_interval_but_for_students_quantile() -> None:
    right = np.arange(1000) >= 30
    low, high = interval(shares(np.stack([right] * 5)), 0.95)
    assert (low, high) == pytest.approx(wilson_interval(970, 1000, 0.95), abs=1e-4)
    assert interval(shares(np.ones((3, 40), bool)), 0.95) == wilson_interval(40, 40, 0.95)
    assert interval(shares(np.zeros((3, 40), bool)), 0.95) == wilson_interval(0, 40, 0.95)


@pytest.mark.parametrize(("runs", "of_seed"), [(2, 0.0), (2, 0.8), (3, 0.4), (5, 0.8)])
def test_an_interval_covers_the_accuracy_over_all_seeds_and_messages(runs: int, of_seed: float) -> None:
    generator = np.random.default_rng(10 + runs)
    truth = trained(generator, 1, 2_000_000, of_seed=0, of_variant=np.hypot(of_seed, 1), variants=1).mean()
    covered = 0
    for _ in range(400):
        (right,) = trained(generator, runs, 300, of_seed=of_seed, of_variant=1.0, variants=1)
        low, high = interval(shares(right), 0.95)
        assert 0 <= low <= right.mean() <= high <= 1
        covered += low <= truth <= high
    assert covered >= 0.95 * 400 - 2 * np.sqrt(400 * 0.05 * 0.95)


def test_shares_of_variance_by_hand_and_by_anova() -> None:
    # means 2 and 6, within 2 (of 2 degrees of freedom), apart 16: between (16 - 2) / 2 = 7
    assert seed_share([[1.0, 3.0], [5.0, 7.0]]) == pytest.approx(2 / 9)
    groups = [[0.97, 0.98, 0.96], [0.99, 0.98, 0.985], [0.93, 0.97, 0.96]]
    f = stats.f_oneway(*groups).statistic
    assert seed_share(groups) == pytest.approx(1 / (1 + (f - 1) / 3))
    assert seed_share([[1.0, 3.0], [3.0, 1.0]]) == 1.0  # variants that do not differ
    assert seed_share([[0.1, 0.1, 0.1], [0.3, 0.3]]) == 0.0
    assert seed_share([[1.0], [2.0], [3.0]]) is None
    assert seed_share([[1.0, 2.0], []]) is None
    assert seed_share([[0.3, 0.3], [0.3]]) is None
