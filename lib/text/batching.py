"""Pads sequences of tokens or features into batches, sorted by length and filled up to a number of tokens."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lib.errors import MessagesError, RecipeError
from lib.text.gpt2 import PAD

# Tokens in an inference batch, measured on two cores with GPT-2 124M: smaller ones read the weights too often, larger
# ones pad more and exceed the caches. A GPU needs enough work for each launch.
RUN_TOKENS = {"cpu": 1024, "cuda": 65_536}

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


def batches_by_tokens(lengths: Sequence[int], budget: int, *, width: int | None = None) -> list[list[int]]:
    """Groups the positions of all sequences into batches of similar length, shortest first, of up to `budget` tokens.
    Padding counts (`width` as in `pad_batch`). A sequence longer than the budget is a batch of its own."""
    batches: list[list[int]] = []
    for position in np.argsort(np.asarray(lengths), kind="stable").tolist():
        wide = lengths[position] if width is None else width
        if not batches or (len(batches[-1]) + 1) * wide > budget:
            batches.append([])
        batches[-1].append(position)
    return batches


def pad_batch(
    sequences: Sequence[Sequence[int] | Tensor | npt.NDArray[np.integer[Any]]], width: int | None = None, pad: int = PAD
) -> tuple[Tensor, Tensor]:
    """Pads on the right; returns the batch and each row's real length (batch,) int64.

    Tokens (lists or integer arrays, already cut) give (batch, width) int64; features, tensors (length, emb_dim) of one
    floating type, give (batch, width, emb_dim) of that type, padded with zeros. `width` None is the longest sequence.
    Raises `ValueError` if a sequence is longer than `width` or there is none, `MessagesError` if one is empty.
    """
    lengths = [len(sequence) for sequence in sequences]
    longest = max(lengths)
    width = longest if width is None else width
    if longest > width:
        raise ValueError(f"a sequence of {longest} tokens does not fit a width of {width}")
    if min(lengths) == 0:
        raise MessagesError("a message has no tokens: leave empty texts out")
    first = sequences[0]
    if isinstance(first, Tensor) and first.is_floating_point():
        batch = first.new_zeros(len(sequences), width, first.shape[1])
        for row, (length, sequence) in enumerate(zip(lengths, sequences, strict=True)):
            batch[row, :length] = cast(Tensor, sequence)
        return batch, torch.tensor(lengths)
    tokens = np.full((len(sequences), width), pad, dtype=np.int64)
    for row, (length, sequence) in enumerate(zip(lengths, sequences, strict=True)):
        tokens[row, :length] = sequence
    return torch.from_numpy(tokens), torch.tensor(lengths)
