"""Says how alike texts are: the cosine of their sets of character n-grams, and which of many texts are likely alike.

Texts are normalised as for near-duplicates (`lib.data.duplicates`), so that case, digits and punctuation do not count.
MinHash (A. Z. Broder, "On the resemblance and containment of documents", SEQUENCES 1997) with bands (J. Leskovec, A.
Rajaraman and J. D. Ullman, Mining of Massive Datasets, chapter 3) finds who may be alike without comparing all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.data.duplicates import normalise

LENGTH = 4  # characters of an n-gram
# Two sets with a cosine of at least 0.8 have a Jaccard index of at least 0.64. They agree in one of the bands with a
# probability of at least 1 - (1 - 0.64^4)^32 = 99.7 %; two with 0.1, as unrelated texts, with 0.3 %.
BANDS, BAND_ROWS = 32, 4
MOST_CANDIDATES = 8  # of a band: a bucket may hold thousands of texts of one template, and any of them will do
CHUNK = 1 << 18  # characters hashed at a time

_MIX = np.uint64(0x9E3779B97F4A7C15)
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Grams:
    """The n-grams of texts, as hashes.

    sets: (texts, 2^31) 1 where a text has an n-gram. bands: (texts, BANDS) uint64, equal where texts agree in a band.
    """

    sets: Any  # a csr_array, which SciPy leaves without types
    bands: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.bands)


def grams_of(texts: Sequence[str]) -> Grams:
    """Hashes the n-grams of every text, in time and memory that grow with their length alone."""
    from scipy.sparse import csr_array  # here, because runs that read what was found alike compare nothing

    indices, sizes, bands = [], [], []
    for begin, end in _chunks(texts):
        hashes, starts = _hashes([normalise(text) or "\0" for text in texts[begin:end]])
        indices.append((hashes >> np.uint64(33)).astype(np.int32))
        sizes.append(np.diff(np.append(starts, len(hashes))))
        bands.append(_bands(hashes, starts))
    if not texts:
        return Grams(csr_array((0, 1 << 31), dtype=np.int32), np.zeros((0, BANDS), np.uint64))
    ends = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    columns = np.concatenate(indices)
    sets = csr_array((np.ones(len(columns), np.int32), columns, ends), shape=(len(texts), 1 << 31))
    sets.sum_duplicates()
    sets.data[:] = 1
    return Grams(sets, np.concatenate(bands))


def cosines(first: Grams, rows: Integers, second: Grams, others: Integers) -> NDArray[np.float64]:
    """Returns the cosine of each pair: text `rows[k]` of `first` and text `others[k]` of `second` (pairs,)."""
    common = np.concatenate(
        [
            first.sets[rows[begin : begin + CHUNK]].multiply(second.sets[others[begin : begin + CHUNK]]).sum(axis=1)
            for begin in range(0, len(rows), CHUNK)
        ]
        or [np.zeros(0)]
    )
    sizes = np.diff(first.sets.indptr)[rows] * np.diff(second.sets.indptr)[others]
    return np.asarray(common / np.sqrt(sizes))


def candidates(first: Grams, second: Grams) -> tuple[Integers, Integers]:
    """Returns pairs (rows of `first`, rows of `second`) that may be alike, each once, sorted."""
    pairs = []
    for band in range(BANDS):
        order = np.argsort(second.bands[:, band], kind="stable")
        ordered = second.bands[order, band]
        begins = np.searchsorted(ordered, first.bands[:, band], "left")
        ends = np.searchsorted(ordered, first.bands[:, band], "right")
        for place in range(MOST_CANDIDATES):
            rows = np.flatnonzero(begins + place < ends)
            pairs.append(rows * len(second) + order[begins[rows] + place])
    unique = np.unique(np.concatenate(pairs)) if len(second) else np.zeros(0, np.int64)
    return unique // max(1, len(second)), unique % max(1, len(second))


def nearest(first: Grams, second: Grams, most: int) -> list[list[tuple[int, float]]]:
    """Returns, for each text of `first`, up to `most` texts of `second` with the highest cosines above 0, and those.

    Compares all pairs, by the n-grams that occur in `first`: meant for a few texts beside many.
    """
    from scipy.sparse import csr_array

    wanted = np.unique(first.sets.indices)
    kept = np.isin(second.sets.indices, wanted)
    rows = np.repeat(np.arange(len(second)), np.diff(second.sets.indptr))[kept]
    columns = np.searchsorted(wanted, second.sets.indices[kept])
    shared = csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(second), len(wanted)))
    sizes = np.diff(second.sets.indptr)
    found = []
    for row in range(len(first)):
        own = np.zeros(len(wanted), np.int32)
        own[np.searchsorted(wanted, first.sets.indices[slice(*first.sets.indptr[row : row + 2])])] = 1
        alike = (shared @ own) / np.sqrt(sizes * own.sum())
        best = np.argsort(-alike, kind="stable")[:most]
        found.append([(int(other), float(alike[other])) for other in best if alike[other] > 0])
    return found


def _chunks(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Returns where chunks of about CHUNK characters begin and end."""
    places = np.cumsum([len(text) for text in texts]) // CHUNK
    edges = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(texts)]
    return [(begin, end) for begin, end in pairwise(edges) if begin < end]


def _hashes(texts: Sequence[str]) -> tuple[NDArray[np.uint64], Integers]:
    """Hashes the n-gram that begins at each character, padded at the text's end; and says where each text begins."""
    padding = "\0" * (LENGTH - 1)
    letters = np.frombuffer(padding.join([*texts, ""]).encode("utf-32-le", "surrogatepass"), np.uint32).astype(
        np.uint64
    )
    lengths = np.array([len(text) for text in texts])
    hashes = np.zeros(len(letters) - LENGTH + 1, np.uint64)
    for place in range(LENGTH):
        hashes = (hashes ^ letters[place : len(hashes) + place]) * _MIX
        hashes ^= hashes >> np.uint64(29)
    text_of = np.repeat(np.arange(len(texts)), lengths)
    return hashes[np.arange(lengths.sum()) + text_of * len(padding)], np.cumsum(lengths) - lengths


def _bands(hashes: NDArray[np.uint64], starts: Integers) -> NDArray[np.uint64]:
    generator = np.random.default_rng(0)  # the permutations are constants of this module
    bands = np.zeros((len(starts), BANDS), np.uint64)
    for band in range(BANDS):
        for factor in generator.integers(1 << 63, size=BAND_ROWS, dtype=np.uint64) | np.uint64(1):
            permuted = (hashes ^ (hashes >> np.uint64(31))) * factor
            permuted ^= permuted >> np.uint64(32)
            least = np.minimum.reduceat(permuted, starts)
            bands[:, band] = (bands[:, band] ^ least) * _MIX
            bands[:, band] ^= bands[:, band] >> np.uint64(31)
    return bands
