"""Fetches, checks and unpacks the source file or files, for every use case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.data.samples import FILES
from lib.data.source.download import ONE_FILE, data_ending
from lib.data.source.download import download as fetch
from lib.data.source.download import identity as source_identity
from lib.files.jsonfile import save_json
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from tasks.engine.step import AnyRecipe, Inputs

SOURCE = "source"  # the only file, under this name without its ending; given splits: "train-0", "train-1", "test-0"


class _Wanted(NamedTuple):
    """A file to fetch."""

    name: str  # in the artifact, without its ending
    addresses: list[str]  # of which any will do
    field: str  # of the recipe, which names it


def _wanted(data: Any) -> Iterator[_Wanted]:
    """Yields the files of a recipe's section `data`; only a bundled sample has no address there."""
    files = getattr(data, "files", None)  # a classifier's recipe has the field
    given = files.given() if files is not None else {}
    for split, addresses in given.items():
        for number, address in enumerate(addresses):
            yield _Wanted(f"{split}-{number}", [address], f"data.files.{split}")
    if given:
        return
    if data.url is None:
        yield _Wanted(SOURCE, [str(FILES[data.bundled])], ONE_FILE)
    else:
        yield _Wanted(SOURCE, [data.url] if isinstance(data.url, str) else list(data.url), ONE_FILE)


def _ending_counts(data: Any) -> bool:
    """Whether the file name's ending determines the format; for instructions the contents do."""
    return getattr(data, "format", "json") is None


def _identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Identifies each file by its checksum where one is known, never by its place."""
    data = recipe.data
    identity: dict[str, str] = {}
    for wanted in _wanted(data):
        found = source_identity(
            wanted.addresses, member=data.member, sha256=data.sha256, ending_counts=_ending_counts(data)
        )
        prefix = "" if wanted.name == SOURCE else f"{wanted.name} "
        identity |= {f"{prefix}{name}": value for name, value in found.items()}
    return identity


@step(
    "download",
    reads=["data.member"],
    unkeyed=["data.url", "data.files", "data.sha256", "data.format"],
    identity=_identity,
    noted=["source.json"],
    **RETRIES,
)
def download(work: Work[AnyRecipe]) -> None:
    """Fetches the source file: `data/source`, or of given splits `data/train-0` and so on, with an ending only where
    that determines the format; and `source.json` with each one's own name and address."""
    data = work.recipe.data
    folder = work.folder / "data"
    arrived = work.folder / "arrived"  # apart, because a fetched file may have the name of one that is there
    folder.mkdir()
    sources = {}
    for wanted in _wanted(data):
        got = fetch(
            wanted.addresses,
            arrived,
            scratch=work.scratch,
            member=data.member,
            sha256=data.sha256,
            field=wanted.field,
            progress=work.progress,
            warn=work.log.warning,
        )
        if data.sha256 is None:
            _tell_checksum(work, wanted, got.address, got.sha256)
        ending = ""
        if _ending_counts(data):
            ending = data_ending(wanted.addresses, member=data.member, sha256=data.sha256, unpacked_name=got.file.name)
        sources[wanted.name] = {
            "name": got.file.name,
            "address": got.address,
            "sha256": got.sha256,
            "size": got.size,
        }
        got.file.rename(folder / f"{wanted.name}{ending}")
    arrived.rmdir()
    save_json(sources, work.folder / "source.json")


def _tell_checksum(work: Work[Any], wanted: _Wanted, address: str, sha256: str) -> None:
    if wanted.name == SOURCE:
        work.log.info("%s is not pinned: add data.sha256: %s to notice when it changes", address, sha256)
    else:
        work.log.info("%s has sha256 %s", address, sha256)
