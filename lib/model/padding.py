"""Pads batches of tokens or features as tensors."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.text.batching import pad_tokens, padded_width
from lib.text.gpt2 import PAD


def pad_batch(
    sequences: Sequence[Sequence[int] | Tensor | NDArray[np.integer[Any]]], width: int | None = None, pad: int = PAD
) -> tuple[Tensor, Tensor]:
    """Pads on the right; returns the batch and each row's real length (batch,) int64.

    Tokens (lists or integer arrays, already cut) give (batch, width) int64; features, tensors (length, emb_dim) of one
    floating type, give (batch, width, emb_dim) of that type, padded with zeros. `width` None is the longest sequence.
    Raises as `padded_width` does.
    """
    first = sequences[0] if len(sequences) else None
    if not isinstance(first, Tensor) or not first.is_floating_point():
        tokens, lengths = pad_tokens(cast("Sequence[Sequence[int]]", sequences), width, pad)
        return torch.from_numpy(tokens), torch.from_numpy(lengths)
    rows = [len(sequence) for sequence in sequences]
    batch = first.new_zeros(len(sequences), padded_width(rows, width), first.shape[1])
    for row, (length, sequence) in enumerate(zip(rows, sequences, strict=True)):
        batch[row, :length] = cast(Tensor, sequence)
    return batch, torch.tensor(rows)
