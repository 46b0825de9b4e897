"""Opens the cluster that a step's recipe names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lib.cluster.opening import Choice, open_cluster

if TYPE_CHECKING:
    from lib.cluster.cluster import Cluster
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Work


@contextmanager
def computing(work: Work[Any], *inputs: Artifact, cards: int = 0) -> Iterator[Cluster]:
    """Yields where the parts of a step are computed, which has `cluster` among its `unkeyed`.

    inputs: the artifacts whose files they read. cards: GPUs that a part needs.
    """
    chosen = work.recipe.cluster
    choice = Choice(chosen.kind, chosen.address, chosen.workers)
    with open_cluster(choice, scratch=work.scratch, making=work.making, inputs=inputs, cards=cards) as cluster:
        yield cluster
