"""Fetches, checks and unpacks the source file or files, for every use case."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.data.samples import FILES
from lib.data.source.download import ONE_FILE, data_ending, is_local_file, require_each_once
from lib.data.source.download import download as fetch
from lib.data.source.download import identity as source_identity
from lib.data.source.files import SOURCE
from lib.data.source.hub import Repository
from lib.data.source.hub_data import address_of, chosen_splits, commit_of, find_splits
from lib.data.source.places import find_files
from lib.errors import SourceError, listed
from lib.files.jsonfile import save_json
from lib.recipes.sections import HUB
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from tasks.engine.step import AnyRecipe, Inputs


class _Wanted(NamedTuple):
    """A file to fetch."""

    name: str  # in the artifact, without its ending
    addresses: list[str]  # of which any will do
    field: str  # of the recipe, which names it
    member: str | None  # the file in it, if it is an archive


class _Source(NamedTuple):
    """What a recipe's section `data` names: the files to fetch, and those beside them in folders, which are not."""

    wanted: list[_Wanted]
    passed_over: list[str]


def _source(data: Any) -> _Source:
    """Returns the files of a recipe's section `data`, which is not about a hub; only a bundled sample has no address
    there. Raises SourceError for a folder or a pattern that stands for none."""
    members = _members(data)
    if members:
        addresses = _addresses(data)
        return _Source([_Wanted(f"{split}-0", addresses, ONE_FILE, member) for split, member in members.items()], [])
    given = _given(data)
    by_split = hasattr(data, "members")
    if not given:
        only = [_Wanted(SOURCE, _addresses(data), ONE_FILE, data.member)]
        if not isinstance(data.url, str) or find_files(data.url, ONE_FILE, by_split=by_split).files == (data.url,):
            return _Source(only, [])
        _refuse_one_files_fields(data)
        given = {"train": (data.url,)}
    field = ONE_FILE if data.url is not None else "data.files"
    wanted, passed_over = [], []
    for split, places in given.items():
        name = f"{field}.{split}" if field != ONE_FILE and by_split else field
        found = [find_files(place, name, by_split=by_split) for place in places]
        files = [file for each in found for file in each.files]
        wanted += [_Wanted(f"{split}-{number}", [file], name, None) for number, file in enumerate(files)]
        passed_over += [file for each in found for file in each.passed_over]
    require_each_once([(each.addresses[0], each.field) for each in wanted])
    return _Source(wanted, passed_over)


def _of_hub(data: Any, commit: str) -> _Source:
    """Returns the files of a data set on a hub. Raises SourceError if it lacks what the recipe names."""
    repository = Repository(data.repository, data.revision, "dataset")
    found = find_splits(repository, commit, data.configuration)
    if hasattr(data, "members"):
        splits = chosen_splits(found, data.splits.given(), repository.name)
    else:
        names = ("train",) if data.splits is None else (data.splits,) if isinstance(data.splits, str) else data.splits
        chosen = [chosen_splits(found, {"train": name}, repository.name) for name in names]
        splits = {"train": [path for each in chosen for path in each["train"]]}
    return _Source(
        [
            _Wanted(f"{split}-{number}", [address_of(repository.name, commit, path)], "data.repository", None)
            for split, paths in splits.items()
            for number, path in enumerate(paths)
        ],
        [],
    )


def _given(data: Any) -> dict[str, tuple[str, ...]]:
    """Returns what `data.files` names for each split; what is to be divided is all in train."""
    files = data.files
    if files is None or isinstance(files, str | tuple):  # a recipe of instructions, which has no given splits
        return {} if files is None else {"train": (files,) if isinstance(files, str) else files}
    given: dict[str, tuple[str, ...]] = files.given()
    return given


def _addresses(data: Any) -> list[str]:
    if data.url is None:
        return [str(FILES[data.bundled])]
    return [data.url] if isinstance(data.url, str) else list(data.url)


def _members(data: Any) -> dict[str, str]:
    """Returns the members that are splits, which only a classifier's recipe can have."""
    return data.members.given() if hasattr(data, "members") else {}


def _refuse_one_files_fields(data: Any) -> None:
    for name in ("sha256", "member"):
        if getattr(data, name) is not None:
            raise SourceError(
                f"data.{name} is about one file, and data.url, {data.url}, stands for several: leave data.{name} out"
            )


def _ending_counts(data: Any) -> bool:
    """Whether the file name's ending determines the format; for instructions the contents do."""
    return bool(data.ending_counts) and data.format is None


def _identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Identifies each file by its checksum where one is known, never by its place."""
    data = recipe.data
    if data.source == HUB:
        return _hub_identity(data)
    identity: dict[str, str] = {}
    for wanted in _source(data).wanted:
        found = source_identity(
            wanted.addresses, member=wanted.member, sha256=data.sha256, ending_counts=_ending_counts(data)
        )
        prefix = "" if wanted.name == SOURCE else f"{wanted.name} "
        identity |= {f"{prefix}{name}": value for name, value in found.items()}
    return identity


def _hub_identity(data: Any) -> dict[str, str]:
    """Identifies a data set on a hub by its commit, and by what is read of it."""
    splits = data.splits.given() if hasattr(data, "members") else data.splits
    return {
        "repository": data.repository,
        "commit": commit_of(Repository(data.repository, data.revision, "dataset")),
        "configuration": data.configuration or "",
        "splits": json.dumps(splits or "", sort_keys=True),
    }


@step(
    "download",
    reads=["data.member"],
    unkeyed=[
        *("data.source", "data.url", "data.files", "data.members", "data.sha256", "data.format"),
        *("data.repository", "data.configuration", "data.revision", "data.splits"),
    ],
    identity=_identity,
    noted=["source.json"],
    **RETRIES,
)
def download(work: Work[AnyRecipe]) -> None:
    """Fetches the source file: `data/source`, or of several `data/train-0` and so on, with an ending only where
    that determines the format; and `source.json` with each one's own name and address."""
    data = work.recipe.data
    folder = work.folder / "data"
    arrived = work.folder / "arrived"  # apart, because a fetched file may have the name of one that is there
    folder.mkdir()
    sources = {}
    source = _of_hub(data, work.identity["commit"]) if data.source == HUB else _source(data)
    if source.passed_over:
        work.warn(f"not read, because their names do not say how they are written: {listed(source.passed_over)}")
    _tell_of_several(work, data)
    for wanted in source.wanted:
        got = fetch(
            wanted.addresses,
            arrived,
            scratch=work.scratch,
            member=wanted.member,
            sha256=data.sha256,
            field=wanted.field,
            nameable="nothing" if wanted.name != SOURCE else "splits" if hasattr(data, "members") else "member",
            progress=work.progress,
            warn=work.log.warning,
        )
        if data.sha256 is None:
            _tell_checksum(work, wanted, got.address, got.sha256)
        ending = ""
        if _ending_counts(data):
            ending = data_ending(
                wanted.addresses, member=wanted.member, sha256=data.sha256, unpacked_name=got.file.name
            )
        sources[wanted.name] = {
            "name": got.file.name,
            "address": got.address,
            "sha256": got.sha256,
            "size": got.size,
        }
        got.file.rename(folder / f"{wanted.name}{ending}")
    arrived.rmdir()
    save_json(sources, work.folder / "source.json")


def _tell_of_several(work: Work[Any], data: Any) -> None:
    """Warns of a list of addresses that may have been meant as a list of files."""
    if not isinstance(data.url, tuple) or data.sha256 is not None:
        return
    here = [address for address in data.url if is_local_file(address)]
    if len(here) > 1:
        work.warn(
            f"data.url lists places of the same file, and of {listed(here, most=3)} only the first is read: to read all"
            " of them, name them in data.files"
        )


def _tell_checksum(work: Work[Any], wanted: _Wanted, address: str, sha256: str) -> None:
    if wanted.name == SOURCE:
        work.log.info("%s is not pinned: add data.sha256: %s to notice when it changes", address, sha256)
    else:
        work.log.info("%s has sha256 %s", address, sha256)
