"""Does work before its turn, so that a card always has something to compute."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 2
PREPARED = 3  # items that are being prepared, or wait for their turn

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(items: Iterable[Item], prepare: Callable[[Item], Result]) -> Iterator[Result]:
    """Yields `prepare(item)` of each item, in order; threads prepare the next ones meanwhile. An error, also of
    `items`, comes after the results before it."""
    threads, waiting, more = ThreadPoolExecutor(THREADS), iter(items), True
    coming: deque[Future[Result]] = deque()
    try:
        while more or coming:
            while more and len(coming) < PREPARED:
                try:
                    coming.append(threads.submit(prepare, next(waiting)))
                except StopIteration:
                    more = False
                except Exception as error:
                    coming.append(Future())
                    coming[-1].set_exception(error)
                    more = False
            if coming:
                yield coming.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def one_ahead(results: Iterable[Result]) -> Iterator[Result]:
    """Yields each result once the next one has been made. An error comes after the results before it."""
    made: list[Result] = []
    try:
        for result in results:
            yield from made
            made = [result]
    except Exception:
        yield from made
        raise
    yield from made
