"""The GPT before the classifier's head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.model.folder import SCRATCH, model_config, weights_folder, weights_identity
from tasks.step import Work, step

if TYPE_CHECKING:
    from lib.recipe import ClassifyRecipe
    from tasks.step import Inputs


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """What the weights are: a seed, or the files' hashes; never the folder where they lie."""
    if recipe.model.weights == SCRATCH:
        return {"seed": str(recipe.model.seed)}
    return weights_identity(weights_folder(recipe.model.weights))


@step("backbone", reads=["model.size"], unkeyed=["model.weights", "model.seed"], identity=_identity)
def backbone(work: Work) -> None:
    """Weights from scratch or from a folder, checked against their shape: Hugging Face layout again."""
    from lib.model.gpt import new_gpt
    from lib.model.weights import load_gpt, save_gpt

    model = work.recipe.model
    config = model_config(model.size, model.weights)
    scratch = model.weights == SCRATCH
    gpt = new_gpt(config, seed=model.seed) if scratch else load_gpt(weights_folder(model.weights))
    save_gpt(gpt, work.folder)
