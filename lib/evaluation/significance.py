"""Says what chance explains: intervals of proportions, paired tests, and the correction for several tests at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_EXACT = 10_000  # disagreements that are counted in whole numbers, in a time that grows with their square
NOTHING = 1e-18  # share of a sum that changes no digit of it


@dataclass(frozen=True)
class PairedTest:
    """Two classifiers on the same messages.

    wins, losses: messages that only the first, only the second labels rightly. p_value: of McNemar's exact test.
    adjusted: that p-value by Holm's correction for all comparisons that were made together.
    """

    first: str
    second: str
    messages: int
    wins: int
    losses: int
    p_value: float
    adjusted: float

    @property
    def difference(self) -> float:
        """The first one's accuracy less the second one's."""
        return (self.wins - self.losses) / self.messages


def wilson_interval(hits: float, rows: float, confidence: float) -> tuple[float, float]:
    """Returns the score interval of a proportion, which stays inside 0..1 and is accurate near both ends.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = hits / rows
    scale = 1 / (1 + z * z / rows)
    centre = scale * (share + z * z / (2 * rows))
    half = scale * z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    # The formula gives exactly 0 and 1 at the ends; floating point does not.
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == rows else centre + half)


def mcnemar(wins: int, losses: int) -> float:
    """Returns the two-sided p-value of the exact test: by chance each of the n disagreements is a fair coin toss.

    p = min(1, 2 P(X <= min(wins, losses))), X binomial with n = wins + losses and 1/2; 1 without disagreements. Q.
    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", Psychometrika
    12 (1947). T. G. Dietterich, "Approximate statistical tests for comparing supervised classification learning
    algorithms", Neural Computation 10 (1998), recommends it where each model was trained once.
    """
    disagreements, least = wins + losses, min(wins, losses)
    if disagreements > MOST_EXACT:
        return _mcnemar_of_many(disagreements, least)
    tail = ways = 1  # in whole numbers: the ways to get at most, and exactly, k heads
    for k in range(least):
        ways = ways * (disagreements - k) // (k + 1)
        tail += ways
    return min(1.0, float(2 * tail / 2**disagreements))


def _mcnemar_of_many(tosses: int, most: int) -> float:
    """Returns the same from the logarithm of the likeliest number of heads, `most`, and what fewer are likely beside
    it, which soon is nothing."""
    each = total = 1.0
    for heads in range(most, 0, -1):
        each *= heads / (tosses - heads + 1)
        total += each
        if each < NOTHING * total:
            break
    ways = math.lgamma(tosses + 1) - math.lgamma(most + 1) - math.lgamma(tosses - most + 1)
    return min(1.0, 2 * total * math.exp(ways - tosses * math.log(2)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values adjusted for having made all these tests, in their order.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may be smaller than one before it, or
    larger than 1. The chance of any false claim among those at most 0.05 is at most 0.05, whatever depends on what. S.
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def paired_tests(
    right: Mapping[str, NDArray[np.bool_]], pairs: Sequence[tuple[str, str]] | None = None
) -> list[PairedTest]:
    """Compares classifiers by name, each with whether it labels each message rightly (messages,).

    pairs: which ones, in order; by default each with every one after it. Raises ValueError if they do not have the same
    messages, or none.
    """
    if len({len(each) for each in right.values()} | {0}) != 2:
        raise ValueError(f"not the same messages, or none: { {name: len(each) for name, each in right.items()} }")
    chosen = list(combinations(right, 2)) if pairs is None else pairs
    counted = [(_only(right[first], right[second]), _only(right[second], right[first])) for first, second in chosen]
    p_values = [mcnemar(wins, losses) for wins, losses in counted]
    return [
        PairedTest(first, second, len(right[first]), wins, losses, p_value, adjusted)
        for (first, second), (wins, losses), p_value, adjusted in zip(
            chosen, counted, p_values, holm(p_values), strict=True
        )
    ]


def _only(right: NDArray[Any], other: NDArray[Any]) -> int:
    return int((right & ~other).sum())
