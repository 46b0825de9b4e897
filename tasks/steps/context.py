"""How much text the model of a recipe can see: what the steps that cut texts into tokens must know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.model.places import model_config

if TYPE_CHECKING:
    from tasks.engine.step import AnyRecipe, Inputs

MODEL = ("model.size", "model.weights", "model.revision")  # the fields that say it, for a step's `unkeyed`


def context_length(recipe: AnyRecipe) -> int:
    """Tokens that the recipe's model can see."""
    model = recipe.model
    return model_config(model.size, model.weights, model.revision).context_length


def context_identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Of the model only the context length counts, and that it has the shape that the recipe says."""
    return {"context_length": str(context_length(recipe))}
