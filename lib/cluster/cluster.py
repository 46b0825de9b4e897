"""What every cluster does, wherever it computes; and this process as one, which is all that most runs need.

Steps reach this module and none that knows of other processes or machines, so that nothing of these enters a cache key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Kept = TypeVar("Kept")


class Cluster(Protocol):
    """Computes parts.

    workers: how many are computed at the same time.
    """

    @property
    def workers(self) -> int: ...

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields `function(item)` for each item, in order. Few items are taken before they are needed, and few results
        wait for those before them.

        function: of a module, because other processes import it. It may be called again for an item whose worker died,
        so what it writes must be as good the second time. items: dataclasses, tuples, lists, mappings of plain values
        and paths; paths in the folders that the cluster was opened with are those of the same files where the function
        runs. Raises what the function raises if the user can correct it, and ClusterError for anything else that goes
        wrong there.
        """
        ...


def paired(
    cluster: Cluster, function: Callable[[Item], Result], given: Iterable[Kept], item: Callable[[Kept], Item]
) -> Iterator[tuple[Kept, Result]]:
    """Yields all that is given, in order, each with `function(item(it))`: what travels is the item, the rest stays."""
    waiting: deque[Kept] = deque()

    def items() -> Iterator[Item]:
        for each in given:
            waiting.append(each)
            yield item(each)

    for result in cluster.run(function, items()):
        yield waiting.popleft(), result


class Here:
    """This process."""

    workers = 1

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields `function(item)` for each item, in order."""
        return map(function, items)


HERE = Here()
