"""Cuts arrays that are as long as the data into pieces, so that what is computed from them takes the memory of one."""

from collections.abc import Iterator

PIECE = 131_072  # rows


def pieces(rows: int) -> Iterator[slice]:
    """Yields the rows in order, at most `PIECE` at a time."""
    for first in range(0, rows, PIECE):
        yield slice(first, min(first + PIECE, rows))
