"""The source file, fetched, checked and unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.data.samples.messages import ARCHIVE
from lib.data.source.download import data_ending
from lib.data.source.download import download as fetch
from lib.data.source.download import identity as source_identity
from lib.files.jsonfile import save_json
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from tasks.engine.step import Inputs


def _addresses(recipe: ClassifyRecipe) -> list[str]:
    if recipe.data.url is None:
        return [str(ARCHIVE)]  # only the bundled sample has no address: the recipe's own check
    return [recipe.data.url] if isinstance(recipe.data.url, str) else list(recipe.data.url)


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """What stands for the file in the key: its checksum where one is known, never its place.

    What ends the file's name counts only where that is to say the format.
    """
    data = recipe.data
    return source_identity(
        _addresses(recipe), member=data.member, sha256=data.sha256, ending_counts=data.format is None
    )


@step(
    "download",
    reads=["data.member"],
    unkeyed=["data.url", "data.sha256", "data.format"],
    identity=_identity,
    noted=["source.json"],
    **RETRIES,
)
def download(work: Work[ClassifyRecipe]) -> None:
    """Fetches the source file: `data/source`, with an ending only where that says the format; its own name and address
    are in `source.json`.
    """
    data = work.recipe.data
    addresses = _addresses(work.recipe)
    got = fetch_source(work, addresses)
    if data.format is None:
        ending = data_ending(addresses, member=data.member, sha256=data.sha256, unpacked_name=got.name)
        got.rename(got.with_name(f"source{ending}"))
    else:
        got.rename(got.with_name("source"))


def fetch_source(work: Work[Any], addresses: Sequence[str]) -> Path:
    """Fetches the file that the recipe's `data` names into `data/`, and writes `source.json`; the file has its own name
    still."""
    data = work.recipe.data
    folder = work.folder / "data"
    folder.mkdir()
    got = fetch(
        addresses,
        folder,
        scratch=work.scratch,
        member=data.member,
        sha256=data.sha256,
        progress=work.progress,
        warn=work.log.warning,
    )
    if data.sha256 is None:
        work.log.info("%s is not pinned: add data.sha256: %s to notice when it changes", got.address, got.sha256)
    source = {"name": got.file.name, "address": got.address, "sha256": got.sha256, "size": got.size}
    save_json(source, work.folder / "source.json")
    return got.file
