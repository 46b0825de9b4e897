"""Says how texts with more tokens than a row may have are read: cut, or in several rows, which are called windows.

A row is what a network reads at once, special tokens included. A recipe's fields come from here, so nothing heavy is
imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from lib.errors import RecipeError

if TYPE_CHECKING:
    from lib.text.tokenizer import Tokenizer

Method = Literal["cut_end", "head_and_tail", "windows"]  # the recipe's `encoding.long_texts`
WindowPooling = Literal["mean", "max"]  # the recipe's `encoding.window_pooling`

FIELDS: dict[Method, tuple[str, ...]] = {  # that each method reads
    "cut_end": (),
    "head_and_tail": ("head_share",),
    "windows": ("overlap", "window_pooling", "most_windows"),
}
# Of what a row has room for. Sun et al. 2019, "How to fine-tune BERT for text classification", section 5.3.1, found 128
# and 382 of 510 tokens best.
HEAD_SHARE = 0.25
OVERLAP = 8  # windows share an eighth of `max_length`, if nothing else is said
MOST_WINDOWS = 32


@dataclass(frozen=True)
class LongTexts:
    """How a text with more tokens than a row may have is read; any other is one row.

    method: "cut_end" keeps its beginning; "head_and_tail" its beginning and its end; "windows" reads all of it in
    several rows. head_share: the share of what is kept that is the beginning. overlap: tokens that a window shares with
    the one before it (None: an eighth of `max_length`); the last window ends with the text, and may share more.
    window_pooling: as `Windows.pooling`. most_windows: of a text with more, so many are read, evenly chosen, the first
    and the last among them.
    """

    method: Method = "cut_end"
    head_share: float = HEAD_SHARE
    overlap: int | None = None
    window_pooling: WindowPooling = "mean"
    most_windows: int = MOST_WINDOWS

    def settled(self, tokenizer: Tokenizer, max_length: int) -> LongTexts:
        """Returns the same with the overlap as a number; raises RecipeError if rows of `max_length` tokens have no room
        for it beside the special tokens."""
        if self.method == "cut_end":
            return self
        overlap = max_length // OVERLAP if self.overlap is None else self.overlap
        special = len(tokenizer.begin) + len(tokenizer.after)
        least = special + (overlap + 1 if self.method == "windows" else 2)
        if max_length < least:
            raise RecipeError(
                f"encoding.long_texts is {self.method!r}, and a row of {max_length} tokens, {special} of them special,"
                f" has no room for that: set encoding.max_length to {least} or more"
                + (", or encoding.overlap to less" if overlap and self.method == "windows" else "")
            )
        return replace(self, overlap=overlap) if self.method == "windows" else self

    def rows(self, tokens: Sequence[int], tokenizer: Tokenizer, max_length: int) -> list[list[int]]:
        """Returns what is read of a text, given as all of its tokens: one row, or windows, of at most `max_length`
        tokens; special tokens around a text are around each of its rows."""
        if len(tokens) <= max_length or self.method == "cut_end":
            return [tokenizer.cut(tokens, max_length)]
        before, after = tokenizer.begin, tokenizer.after
        text = tokens[len(before) : len(tokens) - len(after)]
        room = max_length - len(before) - len(after)
        if self.method == "windows":
            return [[*before, *text[start : start + room], *after] for start in self._starts(len(text), room)]
        head = min(max(round(self.head_share * room), 1), room - 1)
        return [[*before, *text[:head], *text[len(text) - (room - head) :], *after]]

    def unread(self, length: int, tokenizer: Tokenizer, max_length: int) -> int:
        """Returns how many of a text's `length` tokens are in no row."""
        if length <= max_length:
            return 0
        if self.method != "windows":
            return length - max_length
        special = len(tokenizer.begin) + len(tokenizer.after)
        room = max_length - special
        starts = self._starts(length - special, room)
        return length - special - room - sum(min(room, after - before) for before, after in pairwise(starts))

    def in_words(self, max_length: int) -> str:
        """Says how a text is read, as the end of a sentence about it."""
        if self.method == "cut_end":
            return f"the first {max_length:,} tokens of a text"
        if self.method == "head_and_tail":
            return (
                f"{max_length:,} tokens of a text: of a longer one the beginning, {self.head_share:.0%} of them, and"
                " the end"
            )
        pooled = "mean" if self.window_pooling == "mean" else "maximum for each label"
        return (
            f"a text of more than {max_length:,} tokens in windows of as many, which share {self.overlap} with the one"
            f" before, at most {self.most_windows} of a text, and takes the {pooled} of their logits"
        )

    def lost_elsewhere(self, max_length: int) -> str | None:
        """Says what programs that only cut texts, as transformers' pipelines do, do otherwise; None if nothing."""
        if self.method == "cut_end":
            return None
        return (
            f"the classifier was trained to read {self.in_words(max_length)}; the tokenizer beside it cuts a text at"
            f" {max_length:,} tokens, so other programs answer to longer ones otherwise"
        )

    def as_fields(self) -> dict[str, Any]:
        """Returns what the method needs, by name."""
        return {name: getattr(self, name) for name in ("method", *FIELDS[self.method])}

    def _starts(self, length: int, room: int) -> list[int]:
        """Returns where the windows of a text of `length` tokens begin, of which each has `room` for so many."""
        assert self.overlap is not None, "it is settled"
        starts = [*range(0, length - room, room - self.overlap), length - room]
        if len(starts) <= self.most_windows:
            return starts
        last = len(starts) - 1
        return [starts[round(number * last / (self.most_windows - 1))] for number in range(self.most_windows)]


CUT_END = LongTexts()
