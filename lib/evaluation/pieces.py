"""Cuts arrays that are as long as the data into pieces, so that what is computed from them takes the memory of one."""

from collections.abc import Iterator

PIECE = 131_072  # rows


def pieces(rows: int, size: int | None = None) -> Iterator[slice]:
    """Yields the rows in order, at most `size` (None: `PIECE`) at a time."""
    size = PIECE if size is None else size
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))
