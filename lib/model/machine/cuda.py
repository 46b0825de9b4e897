"""What a GPU needs of the host: copies that it need not wait for, and kernels that repeat their bits."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # torch asks for it where cuBLAS shall repeat its bits; these values are NVIDIA's


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns the tensor on `device`; a copy to a GPU uses pinned memory, so that the host does not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Inside the block a GPU takes kernels that give the same bits each time, also where others are faster; a CPU's
    always do. Raises `RuntimeError` for an operation that has no such kernel."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    settings = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # type: ignore[assignment]  # it would write all memory twice
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        settings.fill_uninitialized_memory = before[1]  # type: ignore[assignment]
