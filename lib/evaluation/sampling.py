"""Draws the rows that are looked at where there are too many."""

import numpy as np


def sample_rows(rows: int, most: int, seed: int) -> list[int]:
    """Returns which of `rows` rows are looked at, in order: all, or of more than `most` a random sample."""
    if rows <= most:
        return list(range(rows))
    return sorted(np.random.default_rng(seed).choice(rows, most, replace=False).tolist())
