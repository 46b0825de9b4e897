"""Holds the windows of texts: rows that belong together, and how their logits become those of a text; without torch.

A row is what a network reads at once. Windows are ordinary rows for every network and engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lib.text.long_texts import LongTexts, WindowPooling
    from lib.text.tokenizer import Tokenizer

Row = TypeVar("Row", covariant=True)


@dataclass(frozen=True)
class Windows(Sequence[Sequence[Row]]):
    """The windows of texts: item i is those of text i.

    rows: those of all texts, one after another: tokens, or features of as many tokens. counts: how many each text has,
    one or more. pooling: whether the logits of a text are the mean of its windows', or for each label their maximum.
    """

    rows: Sequence[Row]
    counts: Sequence[int] | NDArray[np.int64]
    pooling: WindowPooling

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, index: int) -> Sequence[Row]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sequence[Row]]: ...
    def __getitem__(self, index: int | slice) -> Sequence[Row] | list[Sequence[Row]]:
        if isinstance(index, slice):
            return [self[text] for text in range(*index.indices(len(self)))]
        text = range(len(self))[index]
        return self.rows[self.starts[text] : self.starts[text + 1]]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Each text's first window, and how many windows there are."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The tokens of each text, over all of its windows."""
        before = np.concatenate([[0], np.cumsum(lengths_of(self.rows), dtype=np.int64)])
        return np.diff(before[self.starts])

    def take(self, texts: Sequence[int]) -> Windows[Row]:
        """Returns the windows of the texts at these positions."""
        return replace(
            self, rows=[row for text in texts for row in self[text]], counts=[self.counts[text] for text in texts]
        )

    def pooled(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns logits (texts, classes) of those of their windows (windows, classes)."""
        firsts = self.starts[:-1]
        if self.pooling == "max":
            largest: NDArray[np.float64] = np.maximum.reduceat(logits, firsts, axis=0)
            return largest
        means: NDArray[np.float64] = np.add.reduceat(logits, firsts, axis=0) / np.asarray(self.counts)[:, None]
        return means


Tokens = Sequence[int] | NDArray[np.int32]  # of one row
Rows = Sequence[Tokens]
Texts = Rows | Windows[Tokens]  # what is read of texts: a row each, or windows


def read_texts(texts: Rows, how: LongTexts, tokenizer: Tokenizer, max_length: int) -> Texts:
    """Returns what is read of texts, given as all of their tokens, in rows of at most `max_length`."""
    rows = [
        [text] if len(text) <= max_length else how.rows(cast(Sequence[int], text), tokenizer, max_length)
        for text in texts
    ]
    every: list[Tokens] = [row for of_text in rows for row in of_text]
    return Windows(every, [len(of_text) for of_text in rows], how.window_pooling) if how.method == "windows" else every


def lengths_of(texts: Sequence[Any]) -> NDArray[np.integer[Any]]:
    """Returns how many tokens are read of each text: (texts,). Those that lie in files, and windows, know theirs."""
    known: NDArray[np.integer[Any]] | None = getattr(texts, "lengths", None)
    return np.fromiter(map(len, texts), np.int64, len(texts)) if known is None else known


def rows_of(texts: Sequence[Any]) -> Sequence[Any]:
    """Returns what a network reads, row by row."""
    return texts.rows if isinstance(texts, Windows) else texts


def piece_of(texts: Sequence[Any], some: slice) -> Sequence[Any]:
    """Returns the texts at these neighbouring positions; where that is all of them, as they are."""
    if some.stop - some.start == len(texts):
        return texts
    if not isinstance(texts, Windows):
        return texts[some]
    rows = slice(int(texts.starts[some.start]), int(texts.starts[some.stop]))
    return replace(texts, rows=texts.rows[rows], counts=texts.counts[some])


def take(texts: Texts, positions: Sequence[int]) -> Texts:
    """Returns the texts at these positions."""
    return texts.take(positions) if isinstance(texts, Windows) else [texts[position] for position in positions]
