"""Which values a space has."""

from __future__ import annotations

from typing import Any

import pytest

from lib.search.optuna_study import distribution
from lib.search.spaces import Interval, Space, value_in

HALVES = Interval(0.0, 1.2, step=0.5)


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (Interval(0.0, 0.3), 0, (0.0,)),
        (Interval(0.0, 0.3), 0.3, (0.3,)),
        (Interval(0.0, 0.3), 0.31, None),
        (Interval(0.0, 0.3), False, None),
        (Interval(0.0, 0.3), "0.1", None),
        (HALVES, 0.5, (0.5,)),
        (HALVES, 0.6, None),
        (HALVES, 1.2, None),
        (Interval(0.0, 0.3, step=0.1), 0.3, (0.3,)),
        (Interval(2, 9, step=2, whole=True), 8.0, (8,)),
        (Interval(2, 9, step=2, whole=True), 9, None),
        (Interval(1, 9, whole=True), 2.5, None),
        ((8, 16), 16.0, (16,)),
        ((8, 16), 17, None),
        ((True, "auto"), 1, None),
        ((None, 1), None, (None,)),
        ((None, 1), True, None),
    ],
)
def test_a_value_is_in_its_space_as_it_would_be_suggested(space: Space, value: Any, expected: Any) -> None:
    found = value_in(space, value)
    assert found == expected
    if found is not None:
        assert type(found[0]) is type(expected[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("interval", "last"),
    [(HALVES, 1.0), (Interval(0.0, 0.35, step=0.1), 0.3), (Interval(2, 9, step=2, whole=True), 8), (Interval(0, 2), 2)],
)
def test_steps_end_where_the_next_would_pass_the_highest(interval: Interval, last: float) -> None:
    assert interval.last == last
    assert distribution(interval).high == last  # type: ignore[attr-defined]
