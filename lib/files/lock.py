"""Tries a lock for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from filelock import Timeout


class Lock(Protocol):
    """A lock between processes, such as filelock's."""

    def acquire(self, timeout: float | None = None) -> object:
        """Waits for it for so many seconds (-1: without end); raises filelock's Timeout."""

    def release(self) -> None:
        """Lets the next one have it."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@contextmanager
def tried(lock: Lock, *, seconds: float = 0) -> Iterator[bool]:
    """Holds the lock until the block's end if it is free within `seconds`; yields whether it is held."""
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
