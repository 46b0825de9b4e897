"""Intervals against plain resampling, one draw after the other with scikit-learn's metrics, and by simulation."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from lib.evaluation.classify import bootstrap
from lib.evaluation.classify.bootstrap import bootstrap_intervals
from lib.evaluation.classify.metrics import measure
from lib.model.labels import Probabilities, Targets

BINARY = ("ham", "spam")
THREE = ("billing", "other", "sales")
CHANCE: dict[str, Any] = {"confidence": 0.95}


def case(rows: tuple[int, ...], seed: int = 0, strength: float = 1.5) -> tuple[Targets, Probabilities]:
    """So many messages of each class, in any order, and a classifier that is often right."""
    generator = np.random.default_rng(seed)
    targets = generator.permutation(np.repeat(np.arange(len(rows)), rows))
    logits = generator.normal(size=(len(targets), len(rows)))
    logits[np.arange(len(targets)), targets] += strength
    powers = np.exp(logits)
    return targets, powers / powers.sum(axis=1, keepdims=True)


def plainly(targets: Targets, probabilities: Probabilities, draws: int, **rule: Any) -> dict[str, tuple[float, float]]:
    """The same intervals the slow way: each draw is a list of messages, which `measure` measures."""
    generator = np.random.default_rng(99)
    classes = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        rows = np.concatenate([generator.choice(each, len(each)) for each in classes])
        for name, value in measure(targets[rows], probabilities[rows], **rule, **CHANCE).items():
            if isinstance(value, float):
                found.setdefault(name, []).append(value)
    return {name: (np.quantile(values, 0.025), np.quantile(values, 0.975)) for name, values in found.items()}


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ((120, 60), {"labels": BINARY, "positive": "spam"}),
        ((120, 60), {"labels": BINARY, "positive": "spam", "threshold": 0.7}),
        ((80, 40, 60), {"labels": THREE, "positive": None}),
    ],
)
def test_intervals_are_those_of_resampling_one_after_the_other(rows: tuple[int, ...], rule: dict[str, Any]) -> None:
    targets, probabilities = case(rows)
    ours = bootstrap_intervals(targets, probabilities, **rule, **CHANCE)
    theirs = plainly(targets, probabilities, 150, **rule)
    assert ours.keys() == theirs.keys() - {"accuracy"}
    for name, interval in ours.items():
        assert interval is not None
        low, high = theirs[name]
        assert (interval["low"], interval["high"]) == pytest.approx((low, high), abs=0.2 * (high - low)), name


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    targets, probabilities = case((40, 20))
    first, second, other = (
        bootstrap_intervals(targets, probabilities, labels=BINARY, positive="spam", seed=seed, **CHANCE)
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_parts_of_the_draws_are_as_good_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, probabilities = case((40, 20))
    whole = bootstrap_intervals(targets, probabilities, labels=BINARY, positive="spam", **CHANCE)
    monkeypatch.setattr("lib.evaluation.classify.bootstrap.CELLS", 1_000)
    parts = bootstrap_intervals(targets, probabilities, labels=BINARY, positive="spam", **CHANCE)
    assert whole["log_loss"] == pytest.approx(parts["log_loss"])
    assert whole["f1"] == parts["f1"]


def test_what_was_not_seen_cannot_be_resampled() -> None:
    targets = np.array([0, 0, 0, 1, 1])
    certain = np.eye(2)[targets] * 0.8 + 0.1
    assert set(bootstrap_intervals(targets, certain, labels=BINARY, positive="spam", **CHANCE).values()) == {None}
    alone = bootstrap_intervals(targets[:3], certain[:3], labels=BINARY, positive="spam", **CHANCE)
    assert "roc_auc" not in alone


def test_intervals_cover_what_they_say_in_2000_draws() -> None:
    """Data sets of one population, whose figures are those of its 100,000 messages. The tallies of fewer draws than
    usual are as good, and take a few seconds."""
    generator = np.random.default_rng(5)
    rule: dict[str, Any] = {"labels": BINARY, "positive": "spam"}
    targets, probabilities = case((50_000, 50_000), seed=7, strength=1.2)
    truth = measure(targets, probabilities, **rule, **CHANCE)
    chosen = generator.integers(50_000, size=(2_000, 2, 200))
    ham, spam = np.flatnonzero(targets == 0), np.flatnonzero(targets == 1)
    covered: dict[str, int] = {}
    for number, (first, second) in enumerate(chosen):
        rows = np.concatenate([ham[first], spam[second]])
        found = bootstrap_intervals(targets[rows], probabilities[rows], **rule, **CHANCE, draws=400, seed=number)
        for name, interval in found.items():
            assert interval is not None
            covered[name] = covered.get(name, 0) + (interval["low"] <= truth[name] <= interval["high"])
    assert all(0.94 <= count / 2_000 <= 0.96 for count in covered.values()), covered


def test_of_scores_that_are_equal_the_area_moves_as_scikit_learns_does() -> None:
    targets, probabilities = case((120, 60), seed=4)
    rounded = probabilities.round(1)
    interval = bootstrap_intervals(targets, rounded, labels=BINARY, positive="spam", **CHANCE)["roc_auc"]
    assert interval is not None
    generator = np.random.default_rng(8)
    classes = [np.flatnonzero(targets == label) for label in (0, 1)]
    drawn = [np.concatenate([generator.choice(each, len(each)) for each in classes]) for _ in range(500)]
    areas = [reference.roc_auc_score(targets[rows], rounded[rows, 1]) for rows in drawn]
    low, high = np.quantile(areas, [0.025, 0.975])
    assert (interval["low"], interval["high"]) == pytest.approx((low, high), abs=0.2 * (high - low))


@pytest.mark.parametrize(
    ("labels", "positive", "rows"), [(BINARY, "spam", (3000, 1500)), (THREE, None, (2000, 40, 900))]
)
def test_sums_that_are_drawn_spread_as_those_over_drawn_messages(
    labels: tuple[str, ...], positive: str | None, rows: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, probabilities = case(rows)
    rule: dict[str, Any] = {"labels": labels, "positive": positive, "draws": 20_000, **CHANCE}
    exact = bootstrap_intervals(targets, probabilities, **rule)
    monkeypatch.setattr(bootstrap, "LARGE", 500)
    drawn = bootstrap_intervals(targets, probabilities, **rule)
    for name, bounds in exact.items():
        other = drawn[name]
        assert bounds is not None
        assert other is not None
        width = bounds["high"] - bounds["low"]
        # Either bound comes from 20,000 draws, whose quantile has a standard error of 0.5 % of the width.
        assert [other["low"], other["high"]] == pytest.approx([bounds["low"], bounds["high"]], abs=0.03 * width), name
