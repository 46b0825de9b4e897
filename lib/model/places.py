"""Finds, identifies and fetches pretrained weights by `model.weights` and `model.revision`, without torch.

A place is `scratch`, a folder or .safetensors file, `openai:<name>`, or a repository on a hub.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lib.errors import RecipeError, WeightsError
from lib.files.checksum import file_sha256
from lib.model.gpt2 import openai
from lib.model.gpt2.config import read_config
from lib.model.gpt2.openai import Release
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.weights import hub
from lib.model.weights.folder import CONFIG, WEIGHTS, pickle_refusal, weights_files
from lib.model.weights.hub import Repository
from lib.progress import Progress, silent

SCRATCH = "scratch"  # numbers drawn from a seed
FROM_WEIGHTS = "from-weights"  # in place of a size: the one that the weights have
OPENAI = "openai:"
SUFFIX = ".safetensors"

LOGGER = logging.getLogger(__name__)


def model_config(size: str, weights: str, revision: str | None = None, *, dropout: float = 0.0) -> GPTConfig:
    """The shape that the recipe's fields `model.size`, `model.weights` and `model.revision` mean together.

    Of a repository only its config.json is fetched, and only if nothing else says the shape: with a size it has that
    one, which is checked when its files are here.

    Raises:
        RecipeError: the weights have another shape than `size`, or there is nothing that says it.
        WeightsError: there are no weights there, or none of a GPT-2.
        SourceError: the hub has to be asked, and does not answer as it should.
    """
    if weights == SCRATCH:
        return replace(SIZES[size], dropout=dropout)
    place = find_weights(weights, revision)
    if isinstance(place, Release):
        config = SIZES[place.size]
    elif isinstance(place, Path):
        config = _local_config(place, size)
    elif place.wanted == hub.KNOWN_COMMITS.get(place.name):
        config = SIZES[hub.KNOWN_SIZES[place.name]]
    elif size != FROM_WEIGHTS:
        config = SIZES[size]
    else:
        config = read_config(hub.fetch_config(place, hub.commit_of(place)))
    _require_size(config, size, weights)
    return replace(config, dropout=dropout)


def weights_identity(weights: str, revision: str | None = None) -> dict[str, str]:
    """What tells the weights from all others in a cache key: equal for equal weights anywhere.

    SHA-256 of local files, in hexadecimal, under the names that they have in a folder; of a repository its name and the
    commit, for which a hub is asked only if a branch or a tag is meant. Raises what `model_config` does.
    """
    place = find_weights(weights, revision)
    if isinstance(place, Release):
        return openai.release_identity(place)
    if isinstance(place, Repository):
        return {"repository": place.name, "commit": hub.commit_of(place)}
    if place.is_file():
        files = {WEIGHTS: place}
        if (place.parent / CONFIG).is_file():
            files[CONFIG] = place.parent / CONFIG
    elif openai.is_openai_folder(place):
        files = {name: _existing(place / name) for name in openai.WEIGHTS_FILES}
    else:
        read_config(place)
        files = {file.name: file for file in (place / CONFIG, *weights_files(place))}
    return {name: file_sha256(file) for name, file in sorted(files.items())}


def fetch_weights(
    size: str,
    weights: str,
    revision: str | None = None,
    *,
    commit: str | None = None,
    folder: Path,
    progress: Progress = silent,
    warn: Callable[[str], None] = LOGGER.warning,
) -> Path:
    """Returns where the weights are on this machine, a folder or a .safetensors file; fetches them if need be.

    Args:
        size: the recipe's `model.size`; another shape is refused before anything large is fetched.
        weights, revision: the recipe's, not `scratch`.
        commit: what `weights_identity` said of a repository, because a branch may have moved since; None: ask the hub.
        folder: where OpenAI's releases are kept, each in a folder of its own; repositories are in their hub's cache.
        progress: of each file that is fetched, in bytes.
        warn: gets one sentence for each address that fails before another is tried.

    Raises:
        SourceError: they cannot be fetched; `temporary` says whether trying again later may help.
        ChecksumError: a file does not have its checksum.
        StoreError: the disk is full, or a cache cannot be written.
        RecipeError, WeightsError: as `model_config`.
    """
    place = find_weights(weights, revision)
    if isinstance(place, Release):
        _require_size(SIZES[place.size], size, weights)
        target = folder / f"openai-{place.name}"
        openai.fetch_release(place, target, progress=progress, warn=warn)
        return target
    if isinstance(place, Repository):
        commit = commit or hub.commit_of(place)
        _require_size(read_config(hub.fetch_config(place, commit)), size, weights)
        return hub.fetch_weights(place, commit, progress=progress)
    return place


def find_weights(weights: str, revision: str | None = None) -> Path | Release | Repository:
    """What `model.weights` names: what is there on this machine comes first, then what can be fetched. Raises
    `WeightsError` if it can be none of them, `RecipeError` if a revision is given for what has none."""
    place = _place(weights, revision)
    if revision is not None and not isinstance(place, Repository):
        raise RecipeError(
            f"model.revision is {revision!r}, but model.weights {weights!r} is no repository on a hub: leave it out"
        )
    return place


def _place(weights: str, revision: str | None) -> Path | Release | Repository:
    if weights.startswith(OPENAI):
        release = openai.RELEASES.get(weights.removeprefix(OPENAI))
        if release is None:
            raise RecipeError(f"model.weights is {weights!r}: OpenAI's are {', '.join(map(_quoted, openai.RELEASES))}")
        return release
    # os.path's leave the "~" of an unknown user as it is, and call a name that is too long no folder; pathlib's raise.
    local = os.path.expanduser(weights)  # noqa: PTH111
    if os.path.isdir(local):  # noqa: PTH112
        return Path(local)
    if os.path.isfile(local):  # noqa: PTH113
        return _single_file(Path(local))
    if hub.is_repository(weights) and Path(weights).suffix not in (SUFFIX, ".bin", ".json"):
        return Repository(weights, revision)
    raise WeightsError(
        f"model.weights is {weights!r}, and there is no such folder or file here: give a folder with {CONFIG} and"
        f" {WEIGHTS}, a {SUFFIX} file, a repository on a hub such as 'openai-community/gpt2',"
        f" {', '.join(map(_quoted, openai.RELEASES))}, or {SCRATCH!r}"
    )


def _quoted(release: str) -> str:
    return f"'{OPENAI}{release}'"


def _single_file(file: Path) -> Path:
    if file.suffix == SUFFIX:
        return file
    if re.search(r"\.(bin|pth?|ckpt)$", file.name):
        raise pickle_refusal(f"{file}", f"{file.parent}")
    raise WeightsError(f"model.weights is {f'{file}'!r}, which is no {SUFFIX} file: give one, or the folder around it")


def _local_config(place: Path, size: str) -> GPTConfig:
    """What stands beside the tensors; for a single file without that, the size."""
    if place.is_dir():
        return openai.read_hparams(place) if openai.is_openai_folder(place) else read_config(place)
    if (place.parent / CONFIG).is_file():
        return read_config(place.parent)
    if size == FROM_WEIGHTS:
        raise RecipeError(
            f"model.size is {FROM_WEIGHTS!r}, but there is no {CONFIG} beside {place}, and a {SUFFIX} file does not say"
            f" how many heads the GPT has: put it there, or set model.size to one of {', '.join(SIZES)}"
        )
    return SIZES[size]


def _require_size(config: GPTConfig, size: str, weights: str) -> None:
    """Refuse weights of another shape; whether the output is tied, and what positions see, is theirs to say."""
    if size == FROM_WEIGHTS:
        return
    expected = replace(SIZES[size], causal_mask=config.causal_mask, tied_output=config.tied_output)
    if config != expected:
        raise RecipeError(
            f"model.size is {size!r}, but the weights {weights!r} have another shape ({_in_words(config)}):"
            f" set model.size to {FROM_WEIGHTS!r}"
        )


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise WeightsError(
            f"{file} does not exist: a folder with OpenAI's checkpoint must have {', '.join(openai.WEIGHTS_FILES)}"
        )
    return file


def _in_words(config: GPTConfig) -> str:
    return (
        f"{config.n_layers} layers, {config.emb_dim} dimensions, {config.n_heads} heads,"
        f" {config.context_length} positions, {config.vocab_size} tokens"
    )
