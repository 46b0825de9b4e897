"""Fetches, checks and unpacks the source file, for every use case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib.data.samples import FILES
from lib.data.source.download import data_ending
from lib.data.source.download import download as fetch
from lib.data.source.download import identity as source_identity
from lib.files.jsonfile import save_json
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from tasks.engine.step import AnyRecipe, Inputs


def _addresses(data: Any) -> list[str]:
    """Returns the addresses in a recipe's section `data`; only a bundled sample has none."""
    if data.url is None:
        return [str(FILES[data.bundled])]
    return [data.url] if isinstance(data.url, str) else list(data.url)


def _ending_counts(data: Any) -> bool:
    """Whether the file name's ending determines the format; for instructions the contents do."""
    return getattr(data, "format", "json") is None


def _identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Identifies the file by its checksum where one is known, never by its place."""
    data = recipe.data
    return source_identity(_addresses(data), member=data.member, sha256=data.sha256, ending_counts=_ending_counts(data))


@step(
    "download",
    reads=["data.member"],
    unkeyed=["data.url", "data.sha256", "data.format"],
    identity=_identity,
    noted=["source.json"],
    **RETRIES,
)
def download(work: Work[AnyRecipe]) -> None:
    """Fetches the source file: `data/source`, with an ending only where that determines the format, and `source.json`
    with its own name and address."""
    data = work.recipe.data
    addresses = _addresses(data)
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
    ending = ""
    if _ending_counts(data):
        ending = data_ending(addresses, member=data.member, sha256=data.sha256, unpacked_name=got.file.name)
    got.file.rename(folder / f"source{ending}")
