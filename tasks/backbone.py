"""The GPT before the classifier's head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib.model.folder import weights_identity
from tasks.step import Work, step

if TYPE_CHECKING:
    from lib.recipe import ClassifyRecipe


def _identity(recipe: ClassifyRecipe) -> dict[str, str]:
    """What the weights are: a seed, or the files' hashes; never the folder where they lie."""
    if recipe.model.weights == "scratch":
        return {"seed": str(recipe.model.seed)}
    return weights_identity(Path(recipe.model.weights).expanduser())


@step("backbone", reads=["model.size"], unkeyed=["model.weights", "model.seed"], identity=_identity)
def backbone(work: Work) -> None:
    """Weights from scratch or from a folder, checked against their shape: Hugging Face layout again."""
    from lib.model.folder import model_config
    from lib.model.gpt import new_gpt
    from lib.model.weights import load_gpt, save_gpt

    model = work.recipe.model
    config = model_config(model.size, model.weights)
    gpt = new_gpt(config, seed=model.seed) if model.weights == "scratch" else load_gpt(Path(model.weights).expanduser())
    save_gpt(gpt, work.folder)
