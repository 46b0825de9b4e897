"""The context length of a recipe's model, for the steps that truncate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.model.places import model_config

if TYPE_CHECKING:
    from tasks.engine.step import AnyRecipe, Inputs

MODEL = ("model.size", "model.weights", "model.revision")  # the fields behind it, for a step's `unkeyed`


def context_length(recipe: AnyRecipe) -> int:
    """Returns how many tokens the recipe's model can read."""
    model = recipe.model
    return model_config(model.size, model.weights, model.revision).context_length


def context_identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Of the model only the context length counts, and that it has the recipe's shape."""
    return {"context_length": str(context_length(recipe))}
