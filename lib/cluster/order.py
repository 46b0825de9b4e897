"""Keeps workers busy with few items in flight, and gives their results back in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # results for each worker that may wait for one before them


def in_order(
    items: Iterable[Item],
    *,
    workers: int,
    begin: Callable[[int, Item], None],
    finished: Callable[[], Iterable[tuple[int, Result]]],
) -> Iterator[Result]:
    """Yields the results of items, in order.

    workers: how many items are in work at the same time. begin: starts work on an item with this number. finished:
    waits for at least one, and returns those that are, by their numbers.
    """
    waiting = enumerate(items)
    upcoming = next(waiting, None)
    done: dict[int, Result] = {}
    wanted = in_work = 0
    while True:
        while upcoming is not None and in_work < workers and upcoming[0] - wanted < AHEAD * workers:
            begin(*upcoming)
            in_work += 1
            upcoming = next(waiting, None)
        if wanted in done:
            yield done.pop(wanted)
            wanted += 1
        elif in_work:
            found = dict(finished())
            in_work -= len(found)
            done |= found
        else:
            return
