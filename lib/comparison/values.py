"""What is known of the variants of a comparison, before and after they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.classify.verdict import Relation

Metric = Literal["accuracy", "f1", "mcc", "roc_auc", "log_loss"]
State = Literal["ran", "cached", "failed", "pruned"]

METRICS: Mapping[Metric, str] = MappingProxyType(
    {
        "accuracy": "accuracy",
        "f1": "F1",
        "mcc": "Matthews correlation",
        "roc_auc": "area under ROC",
        "log_loss": "log loss",
    }
)
SMALLER_IS_BETTER: frozenset[Metric] = frozenset({"log_loss"})
NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Measured:
    """One training of a variant, on the messages that all variants are compared on.

    metrics: as `lib.evaluation.classify.metrics.measure` gives them; a metric that is missing, None or no finite number
    was not measured. right: (messages,) whether each got its label. seconds: of the training; None: not known.
    peak_memory: bytes, of the process that trained.
    """

    seed: int
    metrics: Mapping[str, Any]
    right: NDArray[np.bool_]
    seconds: float | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None
    peak_memory: int | None = None


@dataclass(frozen=True)
class Tried:
    """A variant.

    changes: the dotted fields that make it differ from the base. runs: one for each repeat that succeeded. reason: why
    it failed or was pruned, in a sentence. link: of its page in MLflow. published: published figures by split, such as
    {"validation": 0.9933}. candidate: False for what is compared and never chosen, such as TF-IDF.
    """

    name: str
    changes: Mapping[str, Any]
    state: State
    runs: tuple[Measured, ...] = ()
    reason: str = ""
    link: str = ""
    published: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    candidate: bool = True


@dataclass(frozen=True)
class Row:
    """A variant after the comparison; what its runs do not tell is None.

    value: the metric, the mean over repeats. deviation: its standard deviation between repeats. low, high: the interval
    of the accuracy, as `Comparison.intervals` says. log_loss, accuracy: means over repeats, whatever the metric.
    difference: of the value from the reference's. wins, losses: with one run each, the messages that only this variant,
    only the reference labels rightly. p_value: of the labels' being right as often as the reference's; adjusted: by
    Holm's correction for all comparisons with the reference. beyond_noise: whether that leaves a difference; relation:
    which one. seconds: mean of the trainings. parameters, trainable_parameters, peak_memory: the largest. on_front: no
    other variant is both as good and as fast, and better in one of the two.
    """

    name: str
    changes: Mapping[str, Any]
    state: State
    reason: str
    link: str
    published: Mapping[str, float]
    candidate: bool
    repeats: int
    value: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    log_loss: float | None = None
    difference: float | None = None
    wins: int | None = None
    losses: int | None = None
    p_value: float | None = None
    adjusted: float | None = None
    beyond_noise: bool = False
    relation: Relation | None = None
    seconds: float | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None
    peak_memory: int | None = None
    on_front: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Comparison:
    """Variants compared on the same messages.

    rows: in the given order. measured_on: what the messages are, such as "validation messages". reference: the variant
    that the others are compared with. chosen: None if no candidate has the metric. seed_share: how much of the variance
    between the candidates' trainings is the seed's, 0 to 1; None where each was trained once. intervals: what `low` and
    `high` are, in words. sentences: what was found, for readers who know no statistics.
    """

    rows: tuple[Row, ...]
    metric: Metric
    messages: int
    confidence: float
    measured_on: str
    reference: str | None
    chosen: str | None
    seed_share: float | None
    intervals: str
    sentences: tuple[str, ...] = ()

    @property
    def chosen_row(self) -> Row | None:
        """The variant that is chosen."""
        return next((row for row in self.rows if row.chosen), None)

    @property
    def reference_row(self) -> Row | None:
        """The variant that the others are compared with."""
        return next((row for row in self.rows if row.name == self.reference), None)

    def first_rows(self, most: int) -> tuple[Row, ...]:
        """Returns at most so many rows, in their order: the chosen one, the reference, what is no candidate, then the
        best."""
        sign = 1 if self.metric in SMALLER_IS_BETTER else -1

        def rank(row: Row) -> tuple[bool, bool, bool, float]:
            asked = row.name == self.reference or not row.candidate
            return not row.chosen, not asked, row.value is None, sign * (row.value or 0.0)

        names = {row.name for row in sorted(self.rows, key=rank)[:most]}
        return tuple(row for row in self.rows if row.name in names)


def written(metric: Metric, value: float | None) -> str:
    """Writes a metric's value: accuracy as a percentage, the others with four digits."""
    if value is None:
        return "–"
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4f}"
