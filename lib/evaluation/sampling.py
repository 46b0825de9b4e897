"""Draws the rows that are looked at where there are too many."""

import numpy as np
from numpy.typing import NDArray

_MIX = np.uint64(0x9E3779B97F4A7C15)
Rows = NDArray[np.int64]


def sample_rows(rows: int, most: int, seed: int) -> list[int]:
    """Returns which of `rows` rows are looked at, in order: all, or of more than `most` a random sample."""
    if rows <= most:
        return list(range(rows))
    return sorted(np.random.default_rng(seed).choice(rows, most, replace=False).tolist())


def sample_by_key(keys: NDArray[np.uint64], most: int, seed: int = 0) -> Rows:
    """Returns which rows (at most `most`,) are looked at, ascending: all, or of more those with the smallest hashes.

    keys: 64 bits of each row's text (rows,). The hash is of the key, of which repetition of it the row is, and of the
    seed, so that a row added or removed changes the sample by one row or none.
    """
    if len(keys) <= most:
        return np.arange(len(keys))
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.append(True, ordered[1:] != ordered[:-1])
    place = np.arange(len(keys))
    repetition = np.empty(len(keys), np.uint64)
    repetition[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    hashes = _mixed(keys ^ _mixed(repetition + np.uint64(seed) * _MIX))
    return np.sort(np.argsort(hashes, kind="stable")[:most])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns each number's hash: the finaliser of SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, OOPSLA 2014)."""
    values = values + _MIX
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
