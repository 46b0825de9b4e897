"""Tokenizes messages, and says what of them is not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import RecipeError

if TYPE_CHECKING:
    from lib.text.long_texts import LongTexts
    from lib.text.tokenizer import Tokenizer

# Without a stated length, a training message that is longer than this many tokens and than this many times what 95 % of
# them have does not decide how long the rows of all others may be.
ORDINARY_LENGTH, ORDINARY_TIMES = 512, 8


def tokenize(texts: Iterable[str], tokenizer: Tokenizer, *, max_length: int | None = None) -> list[list[int]]:
    """Returns the tokens of each text with the special tokens around it, at most `max_length` of them (None: all)."""
    whole = tokenizer.encode(texts)
    return whole if max_length is None else [tokenizer.cut(tokens, max_length) for tokens in whole]


def spread(lengths: Sequence[int] | NDArray[np.integer[Any]]) -> dict[str, float | int]:
    """Returns `median`, `p95` (the 95th percentile) and `longest` of lengths; zeros if there are none."""
    return {
        "median": float(np.median(lengths)) if len(lengths) else 0.0,
        "p95": float(np.percentile(lengths, 95)) if len(lengths) else 0.0,
        "longest": int(np.max(lengths)) if len(lengths) else 0,
    }


def require_within_context(max_length: int | None, context_length: int, *, null_means: str) -> None:
    """Raises RecipeError if `max_length` exceeds the model's context, both in tokens."""
    if max_length is not None and max_length > context_length:
        raise RecipeError(
            f"encoding.max_length {max_length} is over the model's context of {context_length}: choose"
            f" {context_length} or less, or null for {null_means}"
        )


class Tally:
    """Counts messages, given batch by batch: their tokens before cutting, and what of them is read.

    lengths: tokens of each message before cutting, a batch after another. read: tokens that are read, in all. rows: of
    what is read. of_labels: for each label its messages, those of which something is not read, their tokens, and those
    of them that are not read, (labels, 4) int64.
    """

    def __init__(self, labels: int) -> None:
        self.lengths: list[NDArray[np.int32]] = []
        self.rows = self.read = 0
        self.of_labels = np.zeros((labels, 4), np.int64)

    def add(
        self,
        lengths: NDArray[np.integer[Any]],
        targets: NDArray[np.int64],
        unread: NDArray[np.int64],
        rows: NDArray[np.integer[Any]],
    ) -> None:
        """Adds messages: their tokens, labels, and tokens that are not read, (messages,), and the lengths of the rows
        that are, (rows,)."""
        self.lengths.append(lengths.astype(np.int32))
        self.rows += len(rows)
        self.read += int(rows.sum())
        np.add.at(self.of_labels, targets, np.stack([np.ones_like(unread), unread > 0, lengths, unread], axis=1))

    def include(self, other: Tally) -> None:
        """Adds what another one has counted."""
        self.lengths += other.lengths
        self.rows += other.rows
        self.read += other.read
        self.of_labels += other.of_labels

    def report(self, *, windows: bool) -> dict[str, float | int]:
        """Returns a split's part of the report: see `lib.data.tokens.Tokenized`."""
        messages, truncated = self.of_labels[:, :2].sum(axis=0).tolist()
        return {
            "rows": messages,
            **({"windows": self.rows} if windows else {}),
            "tokens": self.read,
            "truncated": truncated,
            **spread(np.concatenate([np.empty(0, np.int32), *self.lengths])),
        }


def cut_report(tallies: Iterable[Tally], labels: Sequence[str]) -> dict[str, Any] | None:
    """Counts what is not read of the messages of all splits: `rows` (messages with tokens in no row) of `of`, the
    `share` of all tokens, and of each label's in `labels`; None if all is read."""
    of_labels = sum((tally.of_labels for tally in tallies), np.zeros((len(labels), 4), np.int64))
    messages, rows, tokens, unread = of_labels.sum(axis=0).tolist()
    if not rows:
        return None
    return {
        "rows": rows,
        "of": messages,
        "share": unread / tokens,
        "labels": {
            label: float(counts[3] / counts[2])
            for label, counts in sorted(zip(labels, of_labels, strict=True), key=lambda pair: pair[0])
            if counts[0]
        },
    }


def cut_warning(cut: Mapping[str, Any], how: LongTexts, limit: int, context_length: int) -> str:
    """Says what is not read, which label loses most, and what reads more."""
    most = max(cut["labels"], key=cut["labels"].__getitem__)
    if how.method == "windows":
        long, more = f"{how.most_windows} windows of {limit:,} tokens", "raise encoding.most_windows"
    else:
        longer = f", or encoding.max_length to at most {context_length:,}," if limit < context_length else ""
        long, more = f"{limit:,} tokens", f"set encoding.long_texts to 'windows'{longer}"
    return (
        f"only a part is read of {cut['rows']:,} of {cut['of']:,} texts, those of more than {long}:"
        f" {_percent(cut['share'])} of all tokens are left out, and {_percent(cut['labels'][most])} of those of"
        f" {most!r}, which loses most; {more} to read more"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def ordinary_length(lengths: NDArray[np.integer[Any]]) -> int:
    """Returns the longest of these lengths, unless it is an exception."""
    return min(int(lengths.max()), max(ORDINARY_LENGTH, int(ORDINARY_TIMES * np.percentile(lengths, 95))))
