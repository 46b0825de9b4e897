"""The source file of a run that teaches to follow instructions, fetched, checked and unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.samples.entries import FILE
from lib.data.source.download import identity as source_identity
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step
from tasks.steps.download import fetch_source

if TYPE_CHECKING:
    from lib.recipes.instruct import InstructRecipe
    from tasks.engine.step import Inputs


def _addresses(recipe: InstructRecipe) -> list[str]:
    if recipe.data.url is None:
        return [str(FILE)]  # only the bundled entries have no address: the recipe's own check
    return [recipe.data.url] if isinstance(recipe.data.url, str) else list(recipe.data.url)


def _identity(recipe: InstructRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """What stands for the file in the key: its checksum where one is known, never its place."""
    data = recipe.data
    return source_identity(_addresses(recipe), member=data.member, sha256=data.sha256, ending_counts=False)


@step(
    "download",
    reads=["data.member"],
    unkeyed=["data.url", "data.sha256"],
    identity=_identity,
    noted=["source.json"],
    **RETRIES,
)
def download(work: Work[InstructRecipe]) -> None:
    """Fetches the source file: `data/source`; its own name and address are in `source.json`."""
    got = fetch_source(work, _addresses(work.recipe))
    got.rename(got.with_name("source"))
