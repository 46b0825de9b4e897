"""Fetches the tokenizer that belongs to the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.files.jsonfile import load_json, save_json
from lib.model.places import GPT2, TRANSFORMERS, model_config, network_of, tokenizer_folder, tokenizer_identity
from lib.store.artifacts import MANIFEST
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from pathlib import Path

    from lib.store.artifacts import Artifact
    from tasks.engine.step import AnyRecipe, Inputs

ABOUT = "network.json"  # what the artifact has besides the tokenizer's own files


def _identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Identifies the tokenizer by its files or its repository, and the tokens that the network can see."""
    model = recipe.model
    place = (model.size, model.weights, model.revision)
    if network_of(model.weights, model.revision) == GPT2:
        return {"tokenizer": GPT2, "context_length": str(model_config(*place).context_length)}
    return tokenizer_identity(model.weights, model.revision)


@step("tokenizer", unkeyed=["model.size", "model.weights", "model.revision"], identity=_identity, **RETRIES)
def tokenizer(work: Work[AnyRecipe]) -> None:
    """Writes the tokenizer's files in Hugging Face layout, and `network.json`: which code computes the network, and how
    many tokens it can see."""
    from lib.text.gpt2 import gpt2_tokenizer
    from lib.text.tokenizer_folder import prepare_tokenizer

    model = work.recipe.model
    if "tokenizer" in work.identity:  # GPT-2's, which is bundled
        network = GPT2
        gpt2_tokenizer().save(work.folder)
        context_length = int(work.identity["context_length"])
    else:
        from lib.model.hugging_face.limits import context_length_of

        network = TRANSFORMERS
        place = tokenizer_folder(model.weights, model.revision, commit=work.identity.get("commit"))
        prepare_tokenizer(place, work.folder)
        context_length = context_length_of(place)
    save_json({"network": network, "context_length": context_length}, work.folder / ABOUT)


def network_code(made: Artifact) -> str:
    """Returns which code computes the network, `GPT2` or `TRANSFORMERS`, from the step's artifact."""
    return str(load_json(made.file(ABOUT))["network"])


def context_length(made: Artifact) -> int:
    """Returns how many tokens the network can see, from the step's artifact."""
    return int(load_json(made.file(ABOUT))["context_length"])


def tokenizer_files(made: Artifact) -> list[Path]:
    """Returns the tokenizer's own files, from the step's artifact."""
    return sorted(file for file in made.folder.iterdir() if file.name not in (ABOUT, MANIFEST))
