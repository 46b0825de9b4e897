"""What a recipe asks of how probabilities become answers, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.evaluation.classify.decision import Wanted
from lib.evaluation.classify.threshold import Goal

if TYPE_CHECKING:
    from lib.recipes.classifier import Evaluation

FIELDS = tuple(  # of the recipe that it is made of, for a step's `reads`
    f"evaluation.{name}"
    for name in (
        *("positive_label", "threshold", "goal", "largest_false_positive_rate"),
        *("false_positive_cost", "false_negative_cost", "calibrate"),
    )
)


def wanted(evaluation: Evaluation) -> Wanted:
    """Returns what the recipe's section asks for."""
    return Wanted(
        positive_label=evaluation.positive_label,
        threshold=evaluation.threshold,
        goal=Goal(
            measure=evaluation.goal,
            largest=evaluation.largest_false_positive_rate,
            false_positive=evaluation.false_positive_cost,
            false_negative=evaluation.false_negative_cost,
        ),
        calibrate=evaluation.calibrate,
    )
