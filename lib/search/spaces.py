"""The spaces that a search suggests values from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

Value = str | int | float | bool | None
ON_THE_GRID = 1e-8  # of a step, by which a value may miss it


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included: on a logarithmic scale, or a `step` apart from `low` on, the last at
    most `high`. whole: whole numbers only, each of them without a step."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def last(self) -> float:
        """The largest number: where the steps end."""
        if self.step is None:
            return self.high
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))  # 0.3 / 0.1 is 3
        return float(low + (high - low) // step * step)


Space = Interval | tuple[Value, ...]
Spaces = Mapping[str, Space]  # by dotted field


def value_in(space: Space, value: Any) -> tuple[Value] | None:
    """Returns the value, alone in a tuple, as a search would suggest it; None if it never would."""
    if not isinstance(space, Interval):
        return next(((choice,) for choice in space if _is_same(choice, value)), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not space.low <= value <= space.last:
        return None
    if space.whole and value != int(value):
        return None
    if space.step is not None:
        steps = (value - space.low) / space.step
        if abs(steps - round(steps)) > ON_THE_GRID:
            return None
    return (int(value) if space.whole else float(value),)


def _is_same(one: Value, other: Any) -> bool:
    """Whether two values are equal; a number is no switch, though Python says that 1 equals True."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def described(spaces: Spaces) -> dict[str, Any]:
    """Returns the spaces as JSON has them, by field in alphabetical order."""
    return {
        name: asdict(space) if isinstance(space, Interval) else list(space) for name, space in sorted(spaces.items())
    }
