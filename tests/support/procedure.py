"""What the comparisons with the published scripts share: a small checkpoint, and steps without Prefect around them."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.weights import save_gpt
from lib.progress import silent
from lib.store.artifacts import Artifact, key_of
from lib.store.store import Store
from tasks.engine.step import AnyRecipe, Step, Work


def checkpoint(folder: Path, config: GPTConfig) -> Path:
    """The folder, filled with weights of this shape whose biases and norms are not at their initial zeros and ones."""
    gpt = new_gpt(config, seed=5)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_gpt(gpt, folder)
    return folder


def perform(store: Store, recipe: AnyRecipe, step: Step, **inputs: Artifact) -> Artifact:
    """The step's artifact, made by its own function without Prefect around it."""
    ingredients = step.ingredients(recipe, inputs)
    with store.writing(step.name, key_of(ingredients), ingredients, noted=step.noted) as making:
        scratch = store.scratch(step.name, key_of(ingredients))
        log = logging.getLogger(__name__)
        identity = ingredients.get("identity", {})
        work = Work(
            recipe,
            recipe.model_dump(mode="json"),
            making.folder,
            scratch,
            log,
            silent,
            "",
            identity,
            making=making,
        )
        step.compute(work, **inputs)
    made = store.find(step.name, key_of(ingredients))
    assert made is not None
    return made
