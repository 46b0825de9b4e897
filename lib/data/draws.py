"""Draws rows by a hash of what they say, so that a row that comes or goes hardly changes which others are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UInts = NDArray[np.uint64]
Rows = NDArray[np.int64]


def draws(keys: UInts, seed: int) -> UInts:
    """Returns the hash of each row (rows,), by which those with the smallest are drawn.

    keys: 64 bits of each row's text (rows,). The hash is of the key, of how often it came before, so that copies are
    drawn one by one, and of the seed.
    """
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    new = np.append(True, in_order[1:] != in_order[:-1])[: len(keys)]
    place = np.arange(len(keys))
    before = np.empty(len(keys), np.uint64)
    before[order] = place - np.maximum.accumulate(np.where(new, place, 0))
    return mixed(keys ^ mixed(before, 0), seed)


def mixed(keys: UInts, seed: int) -> UInts:
    """Returns 64 bits for each key, another for each seed.

    The mixing is SplitMix64's (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number generators").
    """
    with np.errstate(over="ignore"):
        mixed: UInts = keys + np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def sample_by_key(keys: NDArray[np.uint64], most: int, seed: int = 0) -> Rows:
    """Returns which rows (at most `most`,) are looked at, ascending: all, or of more those with the smallest hashes.

    keys: 64 bits of each row's text (rows,). The hash is that of `draws`, so that a row added or removed changes the
    sample by one row or none.
    """
    if len(keys) <= most:
        return np.arange(len(keys))
    return np.sort(np.argsort(draws(keys, seed), kind="stable")[:most])


def sample_with_rare(
    keys: NDArray[np.uint64], targets: NDArray[np.integer[Any]], most: int, *, least: int, seed: int = 0
) -> Rows:
    """Returns rows as `sample_by_key` does, ascending, and more where of a class fewer than `least` are among them: so
    many of it, or all that there are. targets: each row's class (rows,)."""
    rows = sample_by_key(keys, most, seed)
    rare = np.bincount(targets[rows], minlength=int(targets.max(initial=-1)) + 1) < least
    of_rare = np.flatnonzero(rare[targets])
    in_turn = of_rare[np.lexsort((draws(keys[of_rare], seed), targets[of_rare]))]  # class by class
    turn = np.arange(len(in_turn)) - np.searchsorted(targets[in_turn], targets[in_turn])
    return np.union1d(rows, in_turn[turn < least])
