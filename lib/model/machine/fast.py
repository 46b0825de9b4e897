"""Everything that makes a network fast on this machine: threads, memory and matrix products; on a card, its kernels."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lib.model.machine.cuda import kernels_of_any_shape
from lib.model.machine.products import onednn_products
from lib.model.machine.threads import sensible_threads


@contextmanager
def fast(network: nn.Module, width: int) -> Iterator[None]:
    """Inside the block, `network`, whose vectors have `width` numbers, computes as suits this machine."""
    with sensible_threads(width), onednn_products(network), kernels_of_any_shape():
        yield
