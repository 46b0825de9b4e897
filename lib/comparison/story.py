"""A whole comparison as one value, for the pages that tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lib.comparison.values import Comparison

TrialState = Literal["complete", "pruned", "failed"]
TrialEnded = tuple[int, float | None, TrialState]  # its number, its value if it has one, and how it ended


@dataclass(frozen=True)
class Opened:
    """What the chosen variant came to on the test split.

    low, high: the interval of the accuracy, at the level `confidence`. looks: how many evaluations in this store have
    opened this very test split, this one included. sentences: of the variant's own report.
    """

    variant: str
    accuracy: float
    low: float
    high: float
    messages: int
    confidence: float
    looks: int
    sentences: Sequence[str] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """The figure, and what it is worth, in sentences."""
        figure = (
            f"On the test split it labels {self.accuracy:.2%} of {self.messages:,} messages rightly"
            f" ({100 * self.confidence:g}% interval {self.low:.2%} to {self.high:.2%})."
        )
        if self.looks <= 1:
            return (f"{figure} No other evaluation in this store has seen these messages.",)
        return (
            figure,
            f"{self.looks} evaluations in this store have opened this test split: each one that something was chosen by"
            " makes the figure a little too good.",
        )


@dataclass(frozen=True)
class Searched:
    """What a search went through.

    history: the trials in their order. importance: of each dotted field its share of what moved the value, 0 to 1.
    best: the dotted fields of the best trial. trials, pruned: how many. seconds: of the search.
    """

    history: Sequence[TrialEnded]
    importance: Mapping[str, float]
    best: Mapping[str, Any]
    trials: int
    pruned: int
    seconds: float


@dataclass(frozen=True)
class Story:
    """A comparison and what became of it.

    name: of the comparison. base: the recipe or recipes that it varies. opened: None if the test split stayed closed.
    search: None if the variants were given. seconds: of all. parallel: how many variants were trained at the same time.
    """

    name: str
    base: str
    comparison: Comparison
    opened: Opened | None
    search: Searched | None
    seconds: float
    parallel: int
