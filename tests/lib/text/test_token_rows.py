"""Tokens of many rows in few arrays, read as if each row were an array of its own."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest

from lib.text.token_rows import TokenRows

ROWS = [[1, 2], [3], [], [4, 5, 6], [7]]


def of(*cuts: int) -> TokenRows:
    """The rows, with a new piece at each of these."""
    edges = [0, *cuts, len(ROWS)]
    pieces = [ROWS[begin:end] for begin, end in pairwise(edges)]
    return TokenRows(
        (np.array([*chain(*piece)], np.int32), np.cumsum([0, *map(len, piece)], dtype=np.int32)) for piece in pieces
    )


@pytest.mark.parametrize("cuts", [(), (2,), (0, 1, 1, 4, 5)])
def test_rows_are_those_of_all_pieces(cuts: tuple[int, ...]) -> None:
    rows = of(*cuts)
    assert [row.tolist() for row in rows] == ROWS
    assert rows.lengths.tolist() == [2, 1, 0, 3, 1]
    for some in (slice(1, 4), slice(4, None), slice(None, -1), slice(None, None, 2), slice(3, 1)):
        assert [row.tolist() for row in rows[some]] == ROWS[some]
    assert rows[-2].tolist() == [4, 5, 6]
    with pytest.raises(IndexError):
        rows[5]


def test_there_may_be_none() -> None:
    assert len(TokenRows([])) == 0
    assert TokenRows([]).lengths.dtype == np.int32
