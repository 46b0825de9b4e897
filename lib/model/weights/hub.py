"""Resolves a repository of weights on a Hugging Face hub to a commit, and fetches them into the hub's local cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.data.source.hub import (
    KNOWN_COMMITS,
    Repository,
    absent_folder,
    check_file,
    clear_errors,
    commit_in_cache,
    fetched_file,
    has_file,
    hub_library,
    listed,
    look,
    remember_absent,
    remember_commit,
    tell_of_a_move,
)
from lib.errors import SourceError, WeightsError
from lib.model.weights.folder import ADAPTER, CONFIG, INDEX, PICKLES, WEIGHTS, adapter_refusal, pickle_refusal, shards
from lib.progress import Progress, silent

KNOWN_SIZES = dict(zip(KNOWN_COMMITS, ("gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl"), strict=True))
KNOWN_SHA256 = {  # of model.safetensors, by commit, where it is published
    "607a30d783dfa663caf39e06633721c8d4cfcd7e": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    "15ea56dee5df4983c59b2538573817e1667135e2": "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
}


def commit_of(repository: Repository) -> str:
    """Returns the commit, 40 hexadecimal digits; asks the hub for a branch or tag (with HF_HUB_OFFLINE, the cache).
    Raises `SourceError` if there is no answer or no such repository or revision."""
    if repository.pinned:
        return repository.wanted
    hub = hub_library()
    if hub.constants.is_offline_mode():
        return commit_in_cache(repository)
    with (
        _adapters_are_named(repository, repository.wanted),
        clear_errors(repository, hint="; set model.revision to a commit, which needs no answer"),
    ):
        commit = look(repository, CONFIG, repository.wanted).commit
    tell_of_a_move(repository, commit)
    return commit


def fetch_config(repository: Repository, commit: str) -> Path:
    """Returns the folder in the hub's cache with the commit's config.json, fetching it if necessary. Raises
    `SourceError` (`temporary` if a retry may help) or, for a full disk, `StoreError`."""
    with _adapters_are_named(repository, commit):
        folder = fetched_file(repository, commit, CONFIG, silent).parent
    remember_commit(repository, commit)  # for `commit_of` offline
    return folder


@contextmanager
def _adapters_are_named(repository: Repository, revision: str) -> Iterator[None]:
    """Raises WeightsError if config.json is missing because there are only adapters."""
    try:
        yield
    except SourceError as error:
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        if isinstance(error.__cause__, EntryNotFoundError) and isinstance(error.__cause__, HfHubHTTPError):
            with suppress(SourceError):
                with clear_errors(repository, file=ADAPTER):
                    look(repository, ADAPTER, revision)
                raise adapter_refusal(repository.name) from None
        raise


def fetch_weights(repository: Repository, commit: str, *, progress: Progress = silent) -> Path:
    """Returns the folder in the hub's cache with the commit's config.json and safetensors, fetching them if necessary.

    `progress` counts the bytes of each file. Files with a SHA-256 from the hub or from here are checked. Raises
    SourceError (`temporary` if a retry may help), WeightsError if there are no safetensors, ChecksumError for a damaged
    file in the cache, and StoreError for a full disk.
    """
    folder = fetch_config(repository, commit)
    name = next((name for name in (WEIGHTS, INDEX) if (folder / name).is_file()), None)
    name = name or next((name for name in (WEIGHTS, INDEX) if has_file(repository, commit, name)), None)
    if name is None:
        if any(has_file(repository, commit, pickle) for pickle in PICKLES):
            raise pickle_refusal(repository.name, repository.name, folder, revision=commit)
        raise WeightsError(f"{repository.name} has neither {WEIGHTS} nor {INDEX}: choose another model")
    file = fetched_file(repository, commit, name, progress)
    if name == WEIGHTS:
        check_file(file, KNOWN_SHA256.get(commit) if repository.name in KNOWN_COMMITS else None)
        return folder
    for shard in shards(file):
        check_file(fetched_file(repository, commit, shard, progress), None)
    return folder


def fetch_files(repository: Repository, commit: str, names: Sequence[str]) -> Path:
    """Returns the folder in the hub's cache with the commit's config.json and those of the small files `names` that it
    has, fetching them if necessary. Raises as `fetch_config` does."""
    folder = fetch_config(repository, commit)
    absent = absent_folder(repository, commit)
    unknown = [name for name in names if not (folder / name).is_file() and not (absent / name).is_file()]
    if not unknown or hub_library().constants.is_offline_mode():
        return folder
    _, there = listed(repository, commit)
    for name in unknown:
        if name in there:
            fetched_file(repository, commit, name, silent)
        else:
            remember_absent(repository, commit, name)
    return folder
