"""Trainings of a comparison without a flow run around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.progress import Listener
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.variants import Variant
from lib.store.artifacts import Artifact
from tasks.compare.crew import Crew
from tasks.compare.desks import steps_for
from tasks.compare.trainings import Ended, Training, go_through
from tests.support.steps import recipe_for


@dataclass
class Desk:
    """Hands out what it was given, and keeps what it is told."""

    waiting: list[Training]
    begun: list[str] = field(default_factory=list)
    outcomes: dict[str, Ended] = field(default_factory=dict)
    rows: dict[str, list[float]] = field(default_factory=dict)
    prune: str = ""

    def next(self) -> Training | None:
        return self.waiting.pop(0) if self.waiting else None

    def begins(self, training: Training) -> None:
        self.begun.append(training.name)
        losses = self.rows.setdefault(training.name, [])
        training.listener = Listener(on_row=lambda row: losses.append(row["validation_loss"]))

    def prunes(self, training: Training, row: Mapping[str, float]) -> bool:
        return training.name == self.prune

    def ended(self, training: Training, outcome: Ended) -> None:
        self.outcomes[training.name] = outcome


def recipe_of(data: Path, rate: float, **sections: dict[str, Any]) -> ClassifyRecipe:
    training = {"learning_rate": rate, "epochs": 4, "evaluate_every": 5, "checkpoint_every": 2}
    return recipe_for(data, "scratch", training=training, **sections)


def training_of(number: int, recipe: ClassifyRecipe, made: Mapping[str, Artifact], name: str = "") -> Training:
    variant = Variant(name or f"rate {recipe.training.learning_rate:g}", recipe, {})
    return Training(number, variant, 0, recipe, steps_for(recipe), dict(made))


def go(desk: Desk, crew: Crew, at_once: int = 2) -> Desk:
    go_through(desk, crew, at_once=at_once, processors=1, cards=False, log=lambda level, text: None)
    return desk
