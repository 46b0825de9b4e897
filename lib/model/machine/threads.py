"""Chooses how many CPU threads a model uses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lib.model.machine.heap import keep_freed_memory
from lib.model.machine.processor import WORTH_SHARING


@contextmanager
def sensible_threads(width: int) -> Iterator[None]:
    """Uses one thread inside the block for models narrower than WORTH_SHARING, and torch's own choice for others. From
    the first block on, the process also keeps freed memory (`heap.py`)."""
    keep_freed_memory()
    before = torch.get_num_threads()
    if width < WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
