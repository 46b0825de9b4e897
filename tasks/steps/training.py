"""What the steps that run a network have in common: the device that they run on, a training's settings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from lib.model.machine.device import device_here

if TYPE_CHECKING:
    from lib.recipes.sections import Optimisation
    from lib.training.settings import Settings
    from tasks.engine.step import AnyRecipe, Inputs


def device_identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """What the recipe's device comes to here: other devices, other roundings.

    It is asked in the process that computes, so a planner without a GPU does not choose for a worker with one. The step
    then runs on what the key says, `work.identity["device"]`, and keeps `training.device` itself out of the key.
    """
    return {"device": device_here(recipe.training.device)}


def training_settings(section: Optimisation, device: str) -> Settings:
    """The fields of a recipe's `training` that every training has, as plain values, for this device."""
    from lib.training.settings import Settings

    plain = {each.name: getattr(section, each.name) for each in fields(Settings)}
    return Settings(**{**plain, "device": device})
