"""Fetches the pretrained weights of the GPT, or draws random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.model.places import SCRATCH, fetch_weights, model_config, weights_identity
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step
from tasks.environment import home

if TYPE_CHECKING:
    from tasks.engine.step import AnyRecipe, Inputs


def _identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Identifies the weights by a seed, the files' hashes or a commit, never by their folder."""
    if recipe.model.weights == SCRATCH:
        return {"seed": str(recipe.model.seed)}
    return weights_identity(recipe.model.weights, recipe.model.revision)


@step(
    "backbone",
    reads=["model.size"],
    unkeyed=["model.weights", "model.revision", "model.seed"],
    identity=_identity,
    noted=["sanity.txt"],
    **RETRIES,
)
def backbone(work: Work[AnyRecipe]) -> None:
    """Loads weights or draws random ones, checks their shapes, and saves them in Hugging Face layout."""
    from lib.model.gpt2.gpt import new_gpt
    from lib.model.gpt2.pretrained import load_pretrained
    from lib.model.gpt2.sanity import sanity_report
    from lib.model.gpt2.weights import save_gpt
    from lib.text.gpt2 import gpt2_tokenizer

    model = work.recipe.model
    if model.weights == SCRATCH:
        gpt = new_gpt(model_config(model.size, SCRATCH), seed=model.seed)
    else:
        place = fetch_weights(
            model.size,
            model.weights,
            model.revision,
            commit=work.identity.get("commit"),
            folder=home() / "weights",
            progress=work.progress,
            warn=work.log.warning,
        )
        gpt = load_pretrained(place, model_config(model.size, f"{place}"))
    save_gpt(gpt, work.folder)
    # Noted: another machine's rounding may choose another of two almost equally likely tokens.
    (work.folder / "sanity.txt").write_text(sanity_report(gpt, gpt2_tokenizer().encoding), encoding="utf-8")
