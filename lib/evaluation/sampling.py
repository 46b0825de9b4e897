"""Draws the rows that are looked at where there are too many."""

import numpy as np
from numpy.typing import NDArray

from lib.data.draws import draws

Rows = NDArray[np.int64]


def sample_rows(rows: int, most: int, seed: int) -> list[int]:
    """Returns which of `rows` rows are looked at, in order: all, or of more than `most` a random sample."""
    if rows <= most:
        return list(range(rows))
    return sorted(np.random.default_rng(seed).choice(rows, most, replace=False).tolist())


def sample_by_key(keys: NDArray[np.uint64], most: int, seed: int = 0) -> Rows:
    """Returns which rows (at most `most`,) are looked at, ascending: all, or of more those with the smallest hashes.

    keys: 64 bits of each row's text (rows,). The hash is that of `draws`, so that a row added or removed changes the
    sample by one row or none.
    """
    if len(keys) <= most:
        return np.arange(len(keys))
    return np.sort(np.argsort(draws(keys, seed), kind="stable")[:most])
