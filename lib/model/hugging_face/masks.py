"""Attention masks of transformers for a card, whose host does not wait."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def masks_without_looking(device: torch.device) -> Iterator[None]:
    """Inside the block transformers makes masks without looking whether a batch has padding at all, which would make a
    GPU's host wait in every step. They are those that it makes while a network is traced, when it cannot look either.
    On a CPU, where looking costs nothing and may save the mask, nothing changes."""
    if device.type == "cpu":
        yield
        return
    from transformers import masking_utils

    before = masking_utils.is_tracing
    masking_utils.is_tracing = lambda *_: True
    try:
        yield
    finally:
        masking_utils.is_tracing = before
