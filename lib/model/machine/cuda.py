"""What a GPU needs of the host: copies that it need not wait for, and kernels that repeat their bits."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # torch asks for it where cuBLAS shall repeat its bits; these values are NVIDIA's


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns the tensor on `device`; a copy to a GPU uses pinned memory, so that the host does not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Begins to copy the tensor to the host; returns what waits for the copy, and for nothing that a GPU is told to do
    afterwards."""
    if tensor.device.type != "cuda":
        return lambda: tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()

    def wait() -> Tensor:
        done.synchronize()
        return copy

    return wait


@contextmanager
def kernels_of_any_shape() -> Iterator[None]:
    """Inside the block attention takes none of cuDNN's kernels, which are planned anew for each shape of a batch: some
    40 ms, as long as a large batch takes (measured on an H200)."""
    before: bool = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Inside the block a GPU takes kernels that give the same bits each time, also where others are faster; a CPU's
    always do. Raises `RuntimeError` for an operation that has no such kernel."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    settings: Any = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # it would write all memory twice
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        settings.fill_uninitialized_memory = before[1]
