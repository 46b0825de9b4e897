"""Finds messages of one split that a classifier has seen in another, word for word or nearly so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.data.groups import bytes_of
from lib.data.lookup import places
from lib.data.parts import Parts
from lib.evaluation.classify.answers import texts_of
from lib.evaluation.classify.grams import Grams, candidates, cosines, grams_of

NEAR = 0.8  # the least cosine of near copies
# Messages of all splits whose n-grams are compared, and bytes of their texts: of short ones they take a kilobyte each,
# and a second for 10,000; of long ones ten bytes for each of the text.
MOST_COMPARED, MOST_BYTES = 200_000, 100_000_000

KEYS = ("exact", "near_high")  # columns
Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Copy:
    """A message that is in another split, too: its row, the row there, the cosine; exact: character for character."""

    row: int
    of: int
    cosine: float
    exact: bool


@dataclass(frozen=True)
class Leak:
    """The messages of `split` that have a copy in `source`, each with the most similar one."""

    split: str
    source: str
    copies: tuple[Copy, ...]

    @property
    def exact(self) -> int:
        """How many are copies character for character."""
        return sum(each.exact for each in self.copies)


def leaks(splits: Mapping[str, Parts]) -> list[Leak]:
    """Looks for the messages of each split in every split before it: `train`, `validation`, `test`, in this order.

    splits: with the schema `KEYED_MESSAGES`. Near copies are those of `copies_by_grams`, or if they are too many for
    that those of `copies_by_keys`.
    """
    if too_many_for_grams(splits):
        return copies_by_keys(splits)
    return copies_by_grams({name: list(texts_of(each)) for name, each in splits.items()})


def too_many_for_grams(splits: Mapping[str, Parts]) -> bool:
    """Whether the messages of all splits are more than `MOST_COMPARED`, or their texts more than `MOST_BYTES`."""
    if sum(map(len, splits.values())) > MOST_COMPARED:
        return True
    size = sum(int(bytes_of(batch).sum()) for each in splits.values() for batch in each.batches(["text"]))
    return size > MOST_BYTES


def copies_by_keys(splits: Mapping[str, Parts]) -> list[Leak]:
    """Finds copies by 64 bits of each text and of what `normalise` leaves of it: near copies are near-duplicates, whose
    sets of n-grams are the same."""
    names = list(splits)
    known = {name: [_first_rows(splits[name].numbers(key)) for key in KEYS] for name in names[:-1]}
    return [
        Leak(name, source, tuple(_same_keys(splits[name], *known[source])))
        for place, name in enumerate(names)
        for source in names[:place]
    ]


def copies_by_grams(splits: Mapping[str, Sequence[str]]) -> list[Leak]:
    """Finds copies by the texts' sets of n-grams.

    Time and memory grow with the texts' length, not with the number of pairs. Near copies are found with a probability
    of at least 99.7 %, exact ones always.
    """
    grams = {name: grams_of(texts) for name, texts in splits.items()}
    names = list(splits)
    return [
        Leak(name, source, tuple(_copies(splits[name], grams[name], splits[source], grams[source])))
        for place, name in enumerate(names)
        for source in names[:place]
    ]


def without_copies(rows: int, *found: Leak) -> NDArray[np.bool_]:
    """Marks the messages (rows,) of a split that have no copy in any of the leaks, to measure a classifier on them."""
    kept = np.ones(rows, bool)
    for leak in found:
        kept[[each.row for each in leak.copies]] = False
    return kept


def _same_keys(split: Parts, exact: _FirstRows, near: _FirstRows) -> Iterator[Copy]:
    first = 0
    for batch in split.batches(KEYS):
        same, alike = (known.of(batch.column(key).to_numpy()) for key, known in zip(KEYS, (exact, near), strict=True))
        for row in np.flatnonzero((same >= 0) | (alike >= 0)).tolist():
            of = int(same[row] if same[row] >= 0 else alike[row])
            yield Copy(first + row, of, 1.0, exact=bool(same[row] >= 0))
        first += len(batch)


@dataclass(frozen=True)
class _FirstRows:
    """The first row with each key: the keys, ascending, and the rows."""

    keys: Keys
    rows: NDArray[np.int64]

    def of(self, keys: Keys) -> NDArray[np.int64]:
        """Returns for each key (rows,) the first row with it, -1 if there is none."""
        return np.append(self.rows, -1)[places(keys, self.keys)]


def _first_rows(keys: Keys) -> _FirstRows:
    return _FirstRows(*np.unique(keys, return_index=True))


def _copies(texts: Sequence[str], grams: Grams, others: Sequence[str], of_others: Grams) -> list[Copy]:
    first = {text: row for row, text in reversed(list(enumerate(others)))}
    exact = {row: first[text] for row, text in enumerate(texts) if text in first}
    found = [Copy(row, other, 1.0, exact=True) for row, other in exact.items()]
    rows, alike = candidates(grams, of_others)
    unknown = ~np.isin(rows, list(exact))
    rows, alike = rows[unknown], alike[unknown]
    similar = cosines(grams, rows, of_others, alike)
    best: dict[int, Copy] = {}
    for place in np.flatnonzero(similar >= NEAR - 1e-9).tolist():
        row = int(rows[place])
        if row not in best or similar[place] > best[row].cosine:
            best[row] = Copy(row, int(alike[place]), float(similar[place]), exact=False)
    return sorted([*found, *best.values()], key=lambda each: each.row)
