"""Resolves `model.weights` and `model.revision` to a place, its shape and its cache key, and fetches it, without torch.
A place is `scratch`, a local folder or .safetensors file, `openai:<name>`, or a repository on a hub."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lib.data.source.hub import KNOWN_COMMITS, Repository, is_repository
from lib.errors import RecipeError, WeightsError
from lib.files.checksum import file_sha256
from lib.model.gpt2 import openai
from lib.model.gpt2.config import read_config
from lib.model.gpt2.openai import Release
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.weights import hub
from lib.model.weights.folder import CONFIG, WEIGHTS, network_files, pickle_refusal
from lib.model.weights.saved import network_fields
from lib.progress import Progress, silent
from lib.text.tokenizer_folder import FILES, has_gpt2_vocabulary

SCRATCH = "scratch"  # random numbers from a seed
FROM_WEIGHTS = "from-weights"  # as `model.size`: the size of the weights
OPENAI = "openai:"
SUFFIX = ".safetensors"

# Which code computes a network: our own GPT-2, or transformers.
GPT2, TRANSFORMERS = "gpt2", "transformers"

LOGGER = logging.getLogger(__name__)


def model_config(size: str, weights: str, revision: str | None = None, *, dropout: float = 0.0) -> GPTConfig:
    """Returns the shape that `model.size`, `model.weights` and `model.revision` mean together.

    For a repository it fetches only config.json, and only if `size` does not say the shape.

    Raises RecipeError if the weights have another shape than `size` or nothing says the shape, WeightsError if there
    are no weights of a GPT-2, SourceError if the hub does not answer as it should.
    """
    if weights == SCRATCH:
        return replace(SIZES[size], dropout=dropout)
    place = find_weights(weights, revision)
    if isinstance(place, Release):
        config = SIZES[place.size]
    elif isinstance(place, Path):
        config = _local_config(place, size)
    elif place.wanted == KNOWN_COMMITS.get(place.name):
        config = SIZES[hub.KNOWN_SIZES[place.name]]
    elif size != FROM_WEIGHTS:
        config = SIZES[size]
    else:
        config = read_config(hub.fetch_config(place, hub.commit_of(place)))
    _require_size(config, size, weights)
    return replace(config, dropout=dropout)


def network_of(weights: str, revision: str | None = None) -> str:
    """Returns which code computes the network, `GPT2` or `TRANSFORMERS`: transformers computes whatever is no GPT-2, or
    has another vocabulary. Raises as `model_config` does."""
    if weights == SCRATCH:
        return GPT2
    place = find_weights(weights, revision)
    if isinstance(place, Release) or (isinstance(place, Path) and (place.is_file() or openai.is_openai_folder(place))):
        return GPT2
    if isinstance(place, Repository) and place.name in KNOWN_COMMITS:
        return GPT2
    folder = place if isinstance(place, Path) else hub.fetch_config(place, hub.commit_of(place))
    if network_fields(folder).get("model_type", GPT2) != GPT2:  # without one, as `read_config` takes it
        return TRANSFORMERS
    return GPT2 if has_gpt2_vocabulary(tokenizer_folder(weights, revision)) else TRANSFORMERS


def tokenizer_folder(weights: str, revision: str | None = None, *, commit: str | None = None) -> Path:
    """Returns the local folder with config.json and the tokenizer's files, fetching them if necessary."""
    place = find_weights(weights, revision)
    if isinstance(place, Repository):
        return hub.fetch_files(place, commit or hub.commit_of(place), FILES)
    assert isinstance(place, Path)
    return place


def tokenizer_identity(weights: str, revision: str | None = None) -> dict[str, str]:
    """Returns the cache key ingredient of a network's tokenizer and limits, as `weights_identity` does."""
    place = find_weights(weights, revision)
    if isinstance(place, Repository):
        return {"repository": place.name, "commit": hub.commit_of(place)}
    assert isinstance(place, Path)
    files = [place / name for name in (CONFIG, *FILES) if (place / name).is_file()]
    return {file.name: file_sha256(file) for file in files}


def weights_identity(weights: str, revision: str | None = None) -> dict[str, str]:
    """Returns the cache key ingredient of the weights, equal for equal weights on every machine.

    Local files count by SHA-256 under their names in a folder, a repository by its name and commit; only a branch or
    tag needs the hub. Raises as `model_config` does.
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
        files = {file.name: file for file in network_files(place)}
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
    """Returns the local folder or .safetensors file of the weights, fetching them if necessary.

    Args:
        size: `model.size`; another shape is refused before anything large is fetched.
        commit: the repository's commit from `weights_identity`, since a branch may move; None asks the hub.
        folder: holds a folder for each of OpenAI's releases; repositories use their hub's cache.
        progress: counts the bytes of each file.
        warn: gets one sentence for each failed address before another is tried.

    Raises `model_config`'s errors, SourceError (`temporary` if a retry may help), ChecksumError for a wrong file, and
    StoreError if the disk is full or a cache cannot be written.
    """
    place = find_weights(weights, revision)
    if isinstance(place, Release):
        _require_size(SIZES[place.size], size, weights)
        target = folder / f"openai-{place.name}"
        openai.fetch_release(place, target, progress=progress, warn=warn)
        return target
    if isinstance(place, Repository):
        commit = commit or hub.commit_of(place)
        if size != FROM_WEIGHTS:
            described = hub.fetch_config(place, commit)
            _require_gpt2(described, size, weights)
            _require_size(read_config(described), size, weights)
        return hub.fetch_weights(place, commit, progress=progress)
    if size != FROM_WEIGHTS and place.is_dir() and not openai.is_openai_folder(place):
        _require_gpt2(place, size, weights)
    return place


def find_weights(weights: str, revision: str | None = None) -> Path | Release | Repository:
    """Returns the place that `model.weights` names; a local one wins. Raises `WeightsError` if there is no such place,
    `RecipeError` for a revision of anything but a repository."""
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
    # pathlib raises for the "~" of an unknown user and for a name that is too long; os.path does not.
    local = os.path.expanduser(weights)  # noqa: PTH111
    if os.path.isdir(local):  # noqa: PTH112
        return Path(local)
    if os.path.isfile(local):  # noqa: PTH113
        return _single_file(Path(local))
    if is_repository(weights) and Path(weights).suffix not in (SUFFIX, ".bin", ".json"):
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
        raise pickle_refusal(f"{file}", f"{file.parent}", file.parent)
    raise WeightsError(f"model.weights is {f'{file}'!r}, which is no {SUFFIX} file: give one, or the folder around it")


def _local_config(place: Path, size: str) -> GPTConfig:
    """Reads the shape from the file beside the tensors; without one, a single file has the shape of `size`."""
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


def _require_gpt2(folder: Path, size: str, weights: str) -> None:
    """Refuses a size, which is that of a GPT-2, with other networks."""
    kind = network_fields(folder).get("model_type", GPT2)
    if kind != GPT2:
        raise RecipeError(
            f"model.size is {size!r}, but the weights {weights!r} are no GPT-2 ({kind}): leave model.size out, or set"
            f" it to {FROM_WEIGHTS!r}"
        )


def _require_size(config: GPTConfig, size: str, weights: str) -> None:
    """Refuses weights of another shape; a tied output and the causal mask are the weights' choice."""
    if size == FROM_WEIGHTS:
        return
    expected = replace(SIZES[size], causal_mask=config.causal_mask, tied_output=config.tied_output)
    if config != expected:
        raise RecipeError(
            f"model.size is {size!r}, but the weights {weights!r} have another shape ({_in_words(config)}):"
            f" leave model.size out, or set it to {FROM_WEIGHTS!r}"
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
