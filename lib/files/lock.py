"""Tries a file lock for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout


@contextmanager
def tried(lock: FileLock, *, seconds: float = 0) -> Iterator[bool]:
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
