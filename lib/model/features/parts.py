"""Computes the features of a split part by part, wherever parts are computed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lib.cluster.cluster import HERE, Cluster
from lib.data.tokens import TokensPart, tokens_parts
from lib.files.disk import require_space
from lib.model.features.file import DTYPES, write_features
from lib.model.machine.device import device_name
from lib.model.machine.memory import Room
from lib.model.network import SavedNetwork
from lib.progress import Progress, part_of, silent

if TYPE_CHECKING:
    from lib.model.backbone import Backbone

# Messages or windows of a part: minutes of work for a small GPT on a processor, which is what a dead worker loses; and
# enough for batches of texts of like length on a card.
ROWS_PER_PART = 8192
ANY_LABELS = ("a", "b")  # the frozen part does not depend on them


@dataclass(frozen=True)
class Frozen:
    """What computes features. learning: blocks at the end that are left out. device: "cpu" or "cuda". threads: of
    torch on a CPU, the same wherever a part is computed, because the last bits of a product may depend on them."""

    network: SavedNetwork
    learning: int
    dtype: str
    device: str
    threads: int = field(default_factory=torch.get_num_threads)


@dataclass(frozen=True)
class _Part:
    """The features of some rows, to be written. kept: where they lie once they are computed, also after an
    interruption. target: where they belong. progress: for parts that are computed in this process."""

    tokens: TokensPart
    frozen: Frozen
    kept: Path
    target: Path
    progress: Progress = silent


def write_feature_parts(
    tokens: Path,
    splits: Sequence[str],
    folder: Path,
    frozen: Frozen,
    *,
    width: int,
    scratch: Path,
    cluster: Cluster = HERE,
    progress: Progress = silent,
) -> list[str]:
    """Writes the features of splits into folders of their names, in `folder`, in parts of ROWS_PER_PART rows; returns
    sentences about what was not as it should be.

    Each part is a file of `write_features`, and the same whoever computes it. What is finished lies in `scratch`, on
    the same file system, until the folder is whole; the same call goes on from there.

    Args:
        tokens: a folder with the tokens of the splits.
        width: numbers of each token's features.
        progress: counts tokens.

    Raises StoreError for a full disk before anything is computed, and as `write_features` does.
    """
    found = [part for split in splits for part in tokens_parts(tokens, split, ROWS_PER_PART)]
    parts = [_part(part, frozen, folder, scratch) for part in found]
    total = sum(part.tokens.size for part in parts)
    if cluster is HERE:
        rest = sum(part.tokens.size for part in parts if not part.kept.exists())
        require_space(scratch, rest * width * DTYPES[frozen.dtype].itemsize, "the features")
    warnings: dict[str, None] = {}
    done = 0
    items = _told(parts, progress, total) if cluster is HERE else iter(parts)
    try:
        for part, said in zip(parts, cluster.run(_write_part, items), strict=True):
            warnings |= dict.fromkeys(said)
            done += part.tokens.size
            if cluster is not HERE:
                progress(done, total, "tokens")
    finally:
        _network.cache_clear()  # other steps need the memory
    return list(warnings)


def _part(tokens: TokensPart, frozen: Frozen, folder: Path, scratch: Path) -> _Part:
    name = f"{tokens.split}/part-{tokens.number:05}.safetensors"
    return _Part(tokens, frozen, scratch / name, folder / name)


def _told(parts: Sequence[_Part], progress: Progress, total: int) -> Iterator[_Part]:
    """Yields the parts, each with what hears of its tokens."""
    done = 0
    for part in parts:
        yield replace(part, progress=part_of(progress, done, total))
        done += part.tokens.size


def _write_part(part: _Part) -> list[str]:
    """Computes a part unless it is there; returns what there is to say."""
    said: list[str] = []
    if not part.kept.exists():
        rows, ids = part.tokens.load()
        network, room = _network(part.frozen)
        room.warn = said.append
        part.kept.parent.mkdir(parents=True, exist_ok=True)
        write_features(
            part.kept,
            network,
            rows,
            ids,
            blocks=network.depth - part.frozen.learning,
            dtype=part.frozen.dtype,
            scratch=part.kept.parent,
            device=device_name(part.frozen.device),
            progress=part.progress,
            room=room,
        )
    part.target.parent.mkdir(parents=True, exist_ok=True)
    part.target.unlink(missing_ok=True)
    try:
        os.link(part.kept, part.target)
    except OSError:  # a file system without second names
        shutil.copyfile(part.kept, part.target)
    return said


@lru_cache(maxsize=1)
def _network(frozen: Frozen) -> tuple[Backbone, Room]:
    """Returns the network, loaded once for all parts of a process, and the memory that it turned out to have."""
    torch.set_num_threads(frozen.threads)
    return frozen.network.load(ANY_LABELS), Room()
