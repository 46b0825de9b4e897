"""Batches of tokens and of features, as tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.errors import MessagesError
from lib.model.padding import pad_batch


def test_pads_at_the_right_and_counts_real_tokens() -> None:
    tokens, lengths = pad_batch([[1, 2, 3], [4]])
    assert tokens.tolist() == [[1, 2, 3], [4, 50256, 50256]]
    assert lengths.tolist() == [3, 1]
    assert tokens.dtype == lengths.dtype == torch.int64


def test_pads_to_a_given_width_with_a_given_token() -> None:
    tokens, lengths = pad_batch([np.array([7, 8], dtype=np.int32)], width=4, pad=0)
    assert tokens.tolist() == [[7, 8, 0, 0]]
    assert lengths.tolist() == [2]


def test_refuses_a_sequence_longer_than_the_width() -> None:
    with pytest.raises(ValueError, match="3 tokens does not fit a width of 2"):
        pad_batch([[1, 2, 3]], width=2)


def test_refuses_a_message_without_tokens() -> None:
    with pytest.raises(MessagesError, match="no tokens"):
        pad_batch([[1], []])


def test_features_are_padded_with_zeros_and_keep_their_type() -> None:
    batch, lengths = pad_batch([torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(1, 3, dtype=torch.bfloat16)])
    assert batch.dtype == torch.bfloat16
    assert batch.float().sum(dim=2).tolist() == [[3, 3], [3, 0]]
    assert lengths.tolist() == [2, 1]
