"""How many CPU threads a model's arithmetic is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lib.model.machine.heap import keep_freed_memory

# Below this width two threads are no faster than one, and several times slower as soon as anything else wants a core:
# measured on two cores with the tiny model, 7 s either way alone, 7 s against 51 s beside a busy browser.
WORTH_SHARING = 256


@contextmanager
def sensible_threads(width: int) -> Iterator[None]:
    """One thread inside the block for models narrower than WORTH_SHARING; torch's own choice, as before, for others.
    From the first block on the process also keeps the memory that it frees (`heap.py`)."""
    keep_freed_memory()
    before = torch.get_num_threads()
    if width < WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
