"""Figures of scores, against numbers known from elsewhere, and when a judge is not to be trusted."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from lib.errors import RecipeError
from lib.evaluation.judge.summary import assess, mean_interval, summarise

SCORES = [100, 0, 85, 40, 60, 95, 100, 20, 75, 0, 90, 85]
SOUND = {"reference": 95, "empty": 0, "other": 10}


def test_figures_are_those_of_the_standard_library() -> None:
    figures = summarise(SCORES, confidence=0.95, seed=123)
    assert figures["mean"] == pytest.approx(statistics.mean(SCORES))
    assert figures["median"] == statistics.median(SCORES)
    assert figures["standard_deviation"] == pytest.approx(statistics.stdev(SCORES))
    assert figures == summarise(SCORES, confidence=0.95, seed=123)
    assert figures["mean_bounds"] == {"low": figures["mean"], "high": figures["mean"]}


def test_missing_scores_are_no_zeros_and_their_weight_shows() -> None:
    figures = summarise([50, None, 100, None], confidence=0.95, seed=123)
    assert (figures["answers"], figures["scored"], figures["mean"]) == (4, 2, 75)
    assert figures["mean_bounds"] == {"low": 37.5, "high": 87.5}


def test_too_few_scores_have_null_figures() -> None:
    none, one = (summarise(scores, confidence=0.95, seed=1) for scores in ([None, None], [70, None]))
    assert (none["mean"], none["median"], none["standard_deviation"]) == (None, None, None)
    assert (one["mean"], one["standard_deviation"], one["mean_interval"]["low"]) == (70, None, None)
    assert none["mean_bounds"] == {"low": 0, "high": 100}


def test_the_interval_is_as_wide_as_the_central_limit_theorem_says() -> None:
    scores = np.random.default_rng(1).choice([0.0, 40.0, 85.0, 100.0], size=400)
    low, high = mean_interval(scores, confidence=0.95, seed=123)
    half = 1.96 * scores.std(ddof=1) / 20
    assert low == pytest.approx(scores.mean() - half, abs=0.2)
    assert high == pytest.approx(scores.mean() + half, abs=0.2)
    narrow = mean_interval(scores, confidence=0.5, seed=123)
    assert low < narrow[0] < narrow[1] < high
    assert mean_interval(np.full(5, 85.0), confidence=0.95, seed=123) == (85, 85)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    with pytest.raises(RecipeError, match="between 0 and 1"):
        summarise(SCORES, confidence=confidence, seed=1)


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        ([SOUND] * 10, "sound"),
        ([SOUND] * 9 + [{"reference": 10, "empty": 0, "other": 10}], "sound"),
        ([SOUND] * 8 + [{"reference": 10, "empty": 0, "other": 10}] * 2, "suspect"),
        ([{"reference": 70, "empty": 60, "other": 30}] * 10, "suspect"),  # ordered, and hardly apart
        ([SOUND] * 5 + [{"reference": 10, "empty": 0, "other": 10}] * 5, "broken"),
        ([{"reference": 0, "empty": 0, "other": 100}] * 4, "broken"),
        ([SOUND] * 4 + [{"reference": 90, "empty": None, "other": 0}] * 6, "broken"),  # most are no numbers
        ([{"reference": None, "empty": None}], "broken"),
        ([{"reference": 90, "empty": 0}] * 3, "sound"),  # where nothing else could be asked
        ([], "not checked"),
    ],
)
def test_when_a_judge_is_sound(entries: list[dict[str, int | None]], verdict: str) -> None:
    assert assess(entries)["verdict"] == verdict


def test_the_numbers_behind_a_verdict_are_told() -> None:
    figures = assess([SOUND, {"reference": 85, "empty": None, "other": 15}, {"reference": 60, "empty": 70, "other": 5}])
    assert (figures["entries"], figures["complete"], figures["ordered"], figures["gap"]) == (3, 2, 1, 37.5)
    assert figures["means"] == {"reference": 80, "empty": 35, "other": 10}
    assert figures["why"].startswith("the reference came first in 1 of 2 entries, by 37.5 points")
