"""The range of values that a picture of a comparison shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from matplotlib.ticker import MaxNLocator, PercentFormatter

from lib.comparison.values import SMALLER_IS_BETTER, Metric

FAR = 4.0  # times as far behind the best one as the median is: such values would hide how the others differ


@dataclass(frozen=True)
class Scale:
    """The ends of a range; what lies outside is drawn at the end."""

    low: float
    high: float

    def kept(self, value: float) -> float:
        """Returns the value, or the end that it lies beyond."""
        return min(max(value, self.low), self.high)

    def has(self, value: float) -> bool:
        """Whether it lies inside."""
        return self.low <= value <= self.high


def scale_of(
    values: Sequence[float],
    metric: Metric,
    intervals: Sequence[tuple[float, float, float]] = (),
    others: Sequence[float] = (),
) -> Scale:
    """Returns a range with room for all values but those that are far behind.

    intervals: values with their bounds, which are inside if the value is. others: values that decide nothing, and are
    inside where they are near.
    """
    best = min(values) if metric in SMALLER_IS_BETTER else max(values)
    widest = max((high - low for _, low, high in intervals), default=0.0)
    reach = max(FAR * abs(best - median(values)), widest)

    def near(value: float) -> bool:
        return reach == 0 or abs(best - value) <= reach

    ends = [value for value in (*values, *others) if near(value)]
    ends += [end for value, low, high in intervals if near(value) for end in (low, high)]
    room = 0.06 * (max(ends) - min(ends)) or 0.01
    low, high = min(ends) - room, max(ends) + room
    if metric == "log_loss":
        return Scale(max(0.0, low), high)
    return Scale(low, min(high, 1.0 + room))


def as_metric(axis: Any, metric: Metric) -> None:
    """Has an axis count a metric: accuracy in percent."""
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    if metric == "accuracy":
        axis.set_major_formatter(PercentFormatter(xmax=1))
