"""Opens the cluster that a recipe names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lib.cluster.cluster import HERE, Cluster

if TYPE_CHECKING:
    from lib.cluster.workplace import Workplace
    from lib.store.artifacts import Artifact
    from lib.store.store import Making


@dataclass(frozen=True)
class Choice:
    """Which cluster: see `lib.recipes.cluster`."""

    kind: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: int = 1


@contextmanager
def open_cluster(
    choice: Choice, *, scratch: Path, making: Making | None = None, inputs: Sequence[Artifact] = (), cards: int = 0
) -> Iterator[Cluster]:
    """Yields where parts are computed. Processes are started with the first part, and end with the block; a Ray cluster
    is joined at once.

    making: the artifact whose folder they fill (None: they write into other folders). scratch: a folder of this run for
    what they may find again. inputs: the artifacts that they read. cards: GPUs that a part needs. Raises ExtraError and
    ClusterError.
    """
    if choice.kind == "local":
        with _local(choice.workers) as cluster:
            yield cluster
        return
    from lib.cluster.on_ray import RayCluster

    with (
        workplace_of(scratch, making, inputs) as workplace,
        RayCluster(choice.address, workers=choice.workers, workplace=workplace, making=making, cards=cards) as cluster,
    ):
        yield cluster


@contextmanager
def workplace_of(scratch: Path, making: Making | None, inputs: Sequence[Artifact]) -> Iterator[Workplace]:
    """Yields where workers on other machines read and write; see `open_cluster`."""
    from lib.cluster.seen import noted
    from lib.cluster.workplace import SharedFolders, SharedStore

    if making is not None and making.elsewhere is not None:
        yield SharedStore.of(making.elsewhere, making.folder, scratch, inputs)
    else:
        with noted(scratch) as note:
            yield SharedFolders(note)


@contextmanager
def _local(workers: int) -> Iterator[Cluster]:
    if workers == 1:
        yield HERE
        return
    from lib.cluster.pool import Pool

    with Pool(workers) as pool:
        yield pool
