"""Holds the tokens of many rows in few arrays, which may lie in mapped files; without torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


class TokenRows(Sequence[Tokens]):
    """The tokens of rows, in order: item i is (length,) int32, a view of the arrays that were given.

    lengths: of each row, (rows,) int32.
    """

    def __init__(self, pieces: Iterable[tuple[Tokens, NDArray[np.int32]]]) -> None:
        """pieces: the flat tokens of some rows each, and the positions (rows + 1,) there at which they begin and the
        last one ends."""
        self._pieces = [(tokens, bounds) for tokens, bounds in pieces if len(bounds) > 1]
        lengths = [np.diff(bounds) for _, bounds in self._pieces]
        self._starts = np.cumsum([0, *map(len, lengths)]).tolist()  # of each piece's first row, and the number of rows
        self.lengths: NDArray[np.int32] = np.concatenate([np.empty(0, np.int32), *lengths])

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Tokens: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tokens]: ...
    def __getitem__(self, index: int | slice) -> Tokens | list[Tokens]:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            return self._between(begin, end) if step == 1 else [self[row] for row in range(begin, end, step)]
        row = range(len(self))[index]
        piece = bisect_right(self._starts, row) - 1
        tokens, bounds = self._pieces[piece]
        place = row - self._starts[piece]
        return tokens[bounds[place] : bounds[place + 1]]

    def _between(self, begin: int, end: int) -> list[Tokens]:
        found: list[Tokens] = []
        for (tokens, bounds), (first, behind) in zip(self._pieces, pairwise(self._starts), strict=True):
            low, high = max(begin, first), min(end, behind)
            if low < high:
                places = bounds[low - first : high - first + 1].tolist()
                found += [tokens[start:stop] for start, stop in pairwise(places)]
        return found
