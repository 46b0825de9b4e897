"""Everything that makes a network fast on a CPU: threads, memory and matrix products."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lib.model.machine.products import onednn_products
from lib.model.machine.threads import sensible_threads


@contextmanager
def fast_cpu(network: nn.Module, width: int) -> Iterator[None]:
    """Inside the block, `network`, whose vectors have `width` numbers, computes as suits this machine's CPU."""
    with sensible_threads(width), onednn_products(network):
        yield
