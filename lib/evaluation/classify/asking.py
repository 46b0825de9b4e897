"""Asks the engine that serves about every message of every split, wherever parts are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.cluster.cluster import HERE, Cluster, paired
from lib.evaluation.pieces import pieces
from lib.files.mapped import IN_MEMORY, Arrays
from lib.progress import Progress, part_of, silent
from lib.text.windows import piece_of

if TYPE_CHECKING:
    from lib.inference.engines.engine import Engine
    from lib.model.labels import Probabilities

ASKED = 16_384  # messages of a part, whose batches are its own


@dataclass(frozen=True)
class Served:
    """The engine and what it is asked about, by folders, so that other processes find them. classifier, engine, device:
    as `load_engine` takes them. tokens, features: as `split_inputs` does. threads: of torch on a CPU, the same in all
    processes."""

    classifier: Path
    engine: Path
    device: str
    tokens: Path
    features: Path | None
    threads: int


@dataclass(frozen=True)
class _Part:
    """Some messages of a split."""

    served: Served
    split: str
    some: slice


def ask(
    engine: Engine,
    inputs: Mapping[str, Sequence[Any]],
    *,
    served: Served | None = None,
    arrays: Arrays = IN_MEMORY,
    cluster: Cluster = HERE,
    progress: Progress = silent,
) -> dict[str, Probabilities]:
    """Returns the probabilities (messages, classes) of each split, as the network has them.

    Args:
        inputs: the tokens of each split; torch's engine takes their features too.
        served: what a cluster of other processes needs.
        arrays: where what is as long as the data lies.
        progress: counts messages.
    """
    total, done = sum(map(len, inputs.values())), 0
    found = {name: arrays.empty((len(texts), len(engine.labels)), np.float64) for name, texts in inputs.items()}
    parts = [(name, some) for name, texts in inputs.items() for some in pieces(len(texts), ASKED)]
    if served is None or cluster is HERE:
        for name, some in parts:
            heard = part_of(progress, done, total)
            found[name][some] = engine.probabilities(piece_of(inputs[name], some), progress=heard)
            done += some.stop - some.start
        return found
    for (name, some), answers in paired(cluster, _probabilities, parts, lambda part: _Part(served, *part)):
        found[name][some] = answers
        done += some.stop - some.start
        progress(done, total, "messages")
    return found


def _probabilities(part: _Part) -> Probabilities:
    """Returns the probabilities of a part's messages, in another process."""
    return _engine(part.served).probabilities(piece_of(_inputs(part.served, part.split), part.some))


@lru_cache(maxsize=1)
def _engine(served: Served) -> Engine:
    import torch

    from lib.inference.engines.loading import load_engine

    torch.set_num_threads(served.threads)
    return load_engine(served.classifier, device=served.device, engine=served.engine)


@lru_cache(maxsize=4)
def _inputs(served: Served, split: str) -> Sequence[Any]:
    from lib.model.features.inputs import split_inputs

    return split_inputs(served.tokens, served.features, split)
