"""Tests that need a CUDA device; they are skipped by name where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def card() -> Iterator[torch.device]:
    """The card, with nothing of earlier tests in its memory."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield torch.device("cuda")
    torch.cuda.set_sync_debug_mode("default")
