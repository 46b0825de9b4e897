"""What the steps that train have in common: the training's settings, taken from a recipe."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.recipes.sections import Optimisation
    from lib.training.settings import Settings


def training_settings(section: Optimisation) -> Settings:
    """The fields of a recipe's `training` that every training has, as plain values."""
    from lib.training.settings import Settings

    return Settings(**{each.name: getattr(section, each.name) for each in fields(Settings)})
