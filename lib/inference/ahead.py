"""Prepares work for a card while the card computes what came before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

READERS = 3  # threads that prepare
AHEAD = 3  # items that are prepared or used before their turn

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Result = TypeVar("Result")


def ahead(items: Iterable[Item], prepare: Callable[[Item], Ready], use: Callable[[Ready], Result]) -> Iterator[Result]:
    """Yields `use(prepare(item))` of each item, in order.

    Later items are prepared meanwhile by several threads, and used by one, which is not the caller's. An error, also of
    `items`, is raised after the results before it."""
    preparing, using = ThreadPoolExecutor(READERS), ThreadPoolExecutor(1)
    coming: deque[Future[Result]] = deque()
    waiting, error = iter(items), None

    def used(ready: Future[Ready]) -> Result:
        return use(ready.result())

    try:
        while error is None:
            try:
                item = next(waiting)
            except StopIteration:
                break
            except Exception as raised:
                error = raised
                break
            coming.append(using.submit(used, preparing.submit(prepare, item)))
            if len(coming) > AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
        if error is not None:
            raise error
    finally:
        preparing.shutdown(cancel_futures=True)
        using.shutdown(cancel_futures=True)
