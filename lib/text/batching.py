"""Sorts sequences by length into batches of up to a number of tokens, and pads tokens; without torch."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from lib.errors import MessagesError, RecipeError
from lib.text.gpt2 import PAD

# Tokens in an inference batch, measured with GPT-2 124M. On two cores smaller ones read the weights too often, larger
# ones pad more and exceed the caches. An H200 classifies 54,000 messages a second in batches of this size (bfloat16, 30
# tokens each), 51,000 in twice as large ones and 37,000 in half as large ones.
RUN_TOKENS = {"cpu": 1024, "cuda": 32_768}

Tokens = NDArray[np.int64]

Padding = Literal["batch", "longest", "context"] | int  # the recipe's `classifier.padding`


def padding_width(padding: Padding, *, max_length: int, context_length: int) -> int | None:
    """Returns the tokens that every batch is padded to; None: the longest sequence of each batch. `max_length` is the
    tokens that messages are cut to. Raises `RecipeError` if messages or padding do not fit."""
    if max_length > context_length:
        raise RecipeError(
            f"encoding.max_length is {max_length} tokens, more than the model's context of {context_length}:"
            f" set encoding.max_length to {context_length} or less"
        )
    if padding == "batch":
        return None
    if padding == "longest":
        return max_length
    if padding == "context":
        return context_length
    if not isinstance(padding, int):
        raise RecipeError(f"classifier.padding is {padding!r}: use batch, longest, context or a number of tokens")
    if not max_length <= padding <= context_length:
        raise RecipeError(
            f"classifier.padding is {padding} tokens, and must be from {max_length} (the longest message"
            f" kept) to {context_length} (the model's context): change it, or set encoding.max_length"
        )
    return padding


def batches_by_tokens(lengths: npt.ArrayLike, budget: int, *, width: int | None = None) -> list[NDArray[np.int64]]:
    """Groups the positions of all sequences into batches of similar length, shortest first, of up to `budget` tokens.
    Padding counts (`width` as in `pad_batch`). A sequence longer than the budget is a batch of its own."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    wide = np.asarray(lengths)[order] if width is None else np.full(len(order), width)
    batches, first = [], 0

    def exceeds(last: int) -> bool:
        return (last + 1 - first) * int(wide[last]) > budget

    while first < len(order):
        behind = max(bisect_left(range(len(order)), True, lo=first, key=exceeds), first + 1)
        batches.append(order[first:behind])
        first = behind
    return batches


def pad_tokens(
    sequences: Sequence[Sequence[int] | NDArray[np.integer[Any]]], width: int | None = None, pad: int = PAD
) -> tuple[Tokens, Tokens]:
    """Pads sequences, already cut, on the right; returns tokens (batch, width) and their real lengths (batch,), both
    int64. `width` None is the longest sequence. Raises as `padded_width` does."""
    lengths = [len(sequence) for sequence in sequences]
    tokens = np.full((len(sequences), padded_width(lengths, width)), pad, dtype=np.int64)
    for row, (length, sequence) in enumerate(zip(lengths, sequences, strict=True)):
        tokens[row, :length] = sequence
    return tokens, np.array(lengths, dtype=np.int64)


def padded_width(lengths: Sequence[int], width: int | None) -> int:
    """Returns the width of a batch of sequences of these lengths (None: that of the longest). Raises `ValueError` if
    one is longer than `width` or there is none, `MessagesError` if one is empty."""
    longest = max(lengths)
    width = longest if width is None else width
    if longest > width:
        raise ValueError(f"a sequence of {longest} tokens does not fit a width of {width}")
    if min(lengths) == 0:
        raise MessagesError("a message has no tokens: leave empty texts out")
    return width
