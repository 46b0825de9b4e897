"""Finds the files of a data set in its repository on a Hugging Face hub: those that README.md names for a
configuration, those whose names say their split, or the Parquet files that the hub makes of others. No code of a
repository is run.

https://huggingface.co/docs/hub/datasets-manual-configuration, .../datasets-file-names-and-splits, .../datasets-viewer
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.data.source.endings import FORMATS, TOLD_BY_CONTENTS, data_kind
from lib.data.source.hub import (
    Repository,
    check_file,
    commit_in_cache,
    fetched_file,
    hub_library,
    listed,
    remember_commit,
    tell_of_a_move,
)
from lib.data.source.splits import split_of
from lib.data.source.transfer import AddressError
from lib.errors import SourceError
from lib.errors import listed as in_words
from lib.files.yaml_text import YamlError, parse_yaml
from lib.progress import Progress, silent

SCHEME = "hf://"
ADDRESS = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<path>.+)")
PARQUET_BRANCH = "refs/convert/parquet"  # where the hub keeps what it made of a repository's files
README = "README.md"
FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
EVERYTHING = "default"  # the configuration of a repository that names none


@dataclass(frozen=True)
class HubFile:
    """A file of a data set's repository."""

    repository: Repository
    path: str


def is_hub_file(address: str) -> bool:
    """Whether the address is that of a file on a hub."""
    return address.lower().startswith(SCHEME)


def parse_address(address: str) -> HubFile:
    """Reads `hf://datasets/OWNER/NAME[@REVISION]/PATH`, where a slash in the revision is written %2F. Raises
    AddressError for anything else."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise AddressError("is no address of a file on a hub (hf://datasets/OWNER/NAME/PATH)", by_hand=False)
    revision = found["revision"]
    return HubFile(
        Repository(found["name"], None if revision is None else revision.replace("%2F", "/"), "dataset"), found["path"]
    )


def address_of(name: str, commit: str, path: str) -> str:
    """Returns the address of a file at a commit."""
    return f"{SCHEME}datasets/{name}@{commit}/{path}"


def commit_of(repository: Repository) -> str:
    """Returns the commit with the data files, 40 hexadecimal digits: that of the revision; or where none is named and
    the main branch has no data files, that of the branch with the hub's Parquet files.

    Only a commit needs no answer of the hub; with HF_HUB_OFFLINE, the cache answers. Raises `SourceError` if there is
    no answer, or no such repository or revision.
    """
    if repository.pinned:
        return repository.wanted
    if hub_library().constants.is_offline_mode():
        return commit_in_cache(repository)
    hint = f"; set {repository.advice.revision} to a commit, which needs no answer"
    commit, files = listed(repository, repository.wanted, hint=hint)
    if repository.revision is None and not _data_files(files):
        commit, _ = listed(Repository(repository.name, PARQUET_BRANCH, "dataset"), PARQUET_BRANCH, hint=hint)
    tell_of_a_move(repository, commit)
    return commit


def find_splits(repository: Repository, commit: str, configuration: str | None) -> dict[str, list[str]]:
    """Returns the paths of each split's files, sorted, under the split's own name in the repository.

    configuration: None means the repository's only one, or its default.

    Raises SourceError if there is no such configuration, if it must be chosen, if there are no data files, or if the
    hub does not answer.
    """
    _, files = listed(repository, commit)
    remember_commit(repository, commit)
    named = _configurations(repository, commit) if README in files else []
    if named:
        chosen = _chosen(repository, {str(each.get("config_name", EVERYTHING)): each for each in named}, configuration)
        splits = dict(_named_files(chosen, files))
    else:
        splits = _files_by_name(repository, _data_files(files), configuration)
    if not any(splits.values()):
        endings = ", ".join((*FORMATS, *TOLD_BY_CONTENTS))
        raise SourceError(
            f"{repository.name} at {commit} has no data file that is read here ({endings}): name another"
            " data.repository, or another data.revision, such as refs/convert/parquet"
        )
    return {split: paths for split, paths in splits.items() if paths}


def fetch_file(address: str, *, size_limit: int, progress: Progress) -> Path:
    """Returns a file of a data set in the hub's cache, fetching it if necessary. `progress` counts its bytes. Raises
    SourceError as `commit_of` does, AddressError for a wrong address or too many bytes, and ChecksumError."""
    wanted = parse_address(address)
    commit = commit_of(wanted.repository)
    file = fetched_file(wanted.repository, commit, wanted.path, progress, size_limit=size_limit)
    remember_commit(wanted.repository, commit)
    check_file(file, None)
    return file


def file_state(address: str) -> dict[str, str] | None:
    """Returns the commit of a file's address, which identifies its contents; None if the hub does not answer."""
    try:
        return {"commit": commit_of(parse_address(address).repository)}
    except (SourceError, AddressError):
        return None


def _data_files(files: Sequence[str] | set[str]) -> list[str]:
    return sorted(name for name in files if data_kind(name) and not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return any(part[0] in "._" for part in name.split("/"))


def _configurations(repository: Repository, commit: str) -> list[Mapping[str, Any]]:
    """Returns what README.md says of configurations with files of their own."""
    text = fetched_file(repository, commit, README, silent).read_text(encoding="utf-8", errors="replace")
    found = FRONT_MATTER.search(text)
    try:
        fields = parse_yaml(found[1]) if found else None
    except YamlError:  # the hub itself then passes over it
        fields = None
    listed_ones = fields.get("configs") if isinstance(fields, dict) else None
    if not isinstance(listed_ones, list):
        return []
    return [each for each in listed_ones if isinstance(each, dict) and each.get("data_files") is not None]


def _chosen(repository: Repository, named: Mapping[str, Any], configuration: str | None) -> Mapping[str, Any]:
    """Returns the configuration of that name; of None the only one, or the default."""
    if configuration is None:
        default = [name for name, each in named.items() if each.get("default") is True]
        known = [*default, *([EVERYTHING] if EVERYTHING in named else []), *(named if len(named) == 1 else [])]
        if known:
            chosen: Mapping[str, Any] = named[known[0]]
            return chosen
    if configuration is None or configuration not in named:
        problem = "several configurations" if configuration is None else f"no configuration {configuration!r}"
        raise SourceError(
            f"{repository.name} has {problem}: set data.configuration to one of {in_words(map(repr, named))}"
        )
    found: Mapping[str, Any] = named[configuration]
    return found


def _named_files(configuration: Mapping[str, Any], files: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields the splits of a configuration as README.md writes them: one pattern or several, or a list with a split
    each."""
    folder = str(configuration.get("data_dir") or "").strip("/")
    given = configuration["data_files"]
    if isinstance(given, str) or (isinstance(given, list) and all(isinstance(each, str) for each in given)):
        fitting = _fitting(given, folder, files)
        yield from _by_name(fitting).items()
        return
    if isinstance(given, dict):
        given = [{"split": split, "path": path} for split, path in given.items()]
    for each in given if isinstance(given, list) else []:
        if isinstance(each, dict) and "path" in each:
            yield str(each.get("split", "train")), _fitting(each["path"], folder, files)


def _fitting(patterns: Any, folder: str, files: set[str]) -> list[str]:
    """Returns the data files that one of the patterns fits, in which `*` stands for a part of one name."""
    found = []
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        whole = f"{folder}/{pattern}" if folder else str(pattern).removeprefix("./")
        expression = re.compile(_expression(whole))
        found += [name for name in _data_files(files) if expression.fullmatch(name)]
    return list(dict.fromkeys(found))


def _expression(pattern: str) -> str:
    """Translates a pattern of paths: `**` stands for any folders, `*` and `?` for parts of one name."""
    parts = re.split(r"(\*\*/?|\*|\?)", pattern)
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(part, re.escape(part)) for part in parts)


def _files_by_name(repository: Repository, files: list[str], configuration: str | None) -> dict[str, list[str]]:
    """Returns the splits that names tell. A configuration is then a folder, of which the hub's Parquet files have one
    each."""
    folders = sorted({name.split("/")[0] for name in files if name.count("/") >= 2})
    if configuration is not None:
        inside = [name for name in files if name.startswith(f"{configuration}/")]
        if not inside and configuration != EVERYTHING:
            known = (
                f": set data.configuration to one of {in_words(map(repr, folders))}" if folders else ": leave it out"
            )
            raise SourceError(f"{repository.name} has no configuration {configuration!r}{known}")
        files = inside or files
    elif len(folders) > 1 and EVERYTHING in folders:
        files = [name for name in files if name.startswith(f"{EVERYTHING}/")]
    elif len(folders) > 1 and all(name.count("/") >= 2 for name in files):
        raise SourceError(
            f"{repository.name} has several configurations: set data.configuration to one of"
            f" {in_words(map(repr, folders))}"
        )
    return _by_name(files)


def _by_name(files: Sequence[str]) -> dict[str, list[str]]:
    """Groups files by their splits; all are train where no name says anything. Of several formats, perhaps of the same
    rows, Parquet counts, or else the one that most files have."""
    kinds = [str(data_kind(name)) for name in files]
    kind = "parquet" if "parquet" in kinds else max(sorted(set(kinds)), key=kinds.count, default="")
    splits: dict[str, list[str]] = {}
    kept = [name for name in files if data_kind(name) == kind]
    for name in kept:
        splits.setdefault(_own_name(name) or "train", []).append(name)
    return splits


def _own_name(path: str) -> str | None:
    """Returns the split's own name: that of the folder in the hub's layout, `CONFIGURATION/SPLIT/0000.parquet`, or the
    word that a name has."""
    found = re.search(r"(?:^|/)([^/]+)/\d{4}\.parquet$", path)
    return found[1].removeprefix("partial-") if found else split_of(path)


def chosen_splits(found: Mapping[str, Sequence[str]], wanted: Mapping[str, str], name: str) -> dict[str, list[str]]:
    """Returns the files of train, validation and test.

    found: the repository's splits. wanted: which of them is which (empty: by their names; where there is no train, the
    only one is). name: the repository's, for errors. Raises SourceError if there is none that is wanted.
    """
    if wanted:
        unknown = sorted(set(wanted.values()) - found.keys())
        if unknown:
            raise SourceError(
                f"{name} has no split {unknown[0]!r}: set data.splits to some of {in_words(map(repr, found))}"
            )
        return {split: list(found[own]) for split, own in wanted.items()}
    if len(found) == 1:
        return {"train": list(next(iter(found.values())))}
    splits: dict[str, list[str]] = {}
    for split in ("train", "validation", "test"):
        own = split if split in found else next((name for name in found if split_of(name) == split), None)
        if own is not None:
            splits[split] = list(found[own])
    if "train" not in splits:
        raise SourceError(
            f"{name} has no split that is called train: set data.splits.train to one of {in_words(map(repr, found))}"
        )
    return splits
