"""Finds messages of one split that a classifier has seen in another, word for word or nearly so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.classify.grams import Grams, candidates, cosines, grams_of

NEAR = 0.8  # the least cosine of near copies


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


def leaks(splits: Mapping[str, Sequence[str]]) -> list[Leak]:
    """Looks for the texts of each split in every split before it: `train`, `validation`, `test`, in this order.

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
