"""What is suggested, and what mattered, computed from trials that are given."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from lib.search.optuna_study import distribution, importance, suggested
from lib.search.spaces import Interval

BOX = {name: distribution(Interval(-1.0, 1.0)) for name in "abcd"}


def height(values: Mapping[str, float]) -> float:
    """Of a bowl, which is 0 in one place."""
    return sum((value - 0.3) ** 2 for value in values.values())


def complete(value: float, values: dict[str, Any]) -> FrozenTrial:
    return create_trial(value=value, params=values, distributions=BOX)


def test_suggestions_are_better_than_chance(capfd: pytest.CaptureFixture[str]) -> None:
    trials, found, drawn = 30, 0.0, 0.0
    for seed in range(5):
        tried: list[FrozenTrial] = []
        for _ in range(trials):
            values = suggested(tried, BOX, direction="minimize", seed=seed)
            tried.append(complete(height(values), values))
        found += min(each.values[0] for each in tried)
        chance = random.Random(seed)
        drawn += min(height({name: chance.uniform(-1, 1) for name in BOX}) for _ in range(trials))
    assert found < 0.5 * drawn
    assert capfd.readouterr() == ("", "")


def test_what_matters_is_found_and_of_too_little_nothing_is_said() -> None:
    chance = random.Random(1)
    places = [{name: chance.uniform(-1, 1) for name in BOX} for _ in range(20)]
    trials = [complete(place["b"] + place["d"] / 8, place) for place in places]
    failed = [create_trial(state=TrialState.FAIL, params=place, distributions=BOX) for place in places]
    endless = [complete(float("inf"), place) for place in places]
    found = importance([*trials, *failed, *endless], direction="maximize", seed=0)
    assert next(iter(found)) == "b"
    assert found.keys() == BOX.keys()
    assert found["b"] > 0.6
    assert sum(found.values()) == pytest.approx(1)
    assert importance([*trials[:4], *failed, *endless], direction="maximize", seed=0) == {}
    assert importance([complete(0.5, place) for place in places], direction="maximize", seed=0) == {}
