"""Matrix products in float32 through oneDNN: on some processors more than twice as fast as MKL, torch's choice.

Measured on two cores of an AMD EPYC with AVX-512, 430 rows through a layer of 768 x 3072: MKL 196 GFLOP/s, oneDNN 463;
MKL seems not to use AVX-512 on AMD's processors. The operator is torch's own, but private, so a test compares it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

LARGE = 256 * 256  # weights of a layer; preparing the product costs more than it saves in a smaller one
FEW_ROWS = 4  # below, torch's own product is faster


@cache
def onednn_is_faster() -> bool:
    """Whether this processor and this torch have what the product needs: x86 with AVX-512."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@contextmanager
def onednn_products(network: nn.Module) -> Iterator[None]:
    """Inside the block, the large linear layers of `network` compute in float32 on the CPU through oneDNN, forward and
    backward; under autocast, on a GPU and in other number types they compute as always."""
    layers = [
        module
        for module in (network.modules() if onednn_is_faster() else ())
        if type(module) is nn.Linear and module.weight.numel() >= LARGE and "forward" not in module.__dict__
    ]
    try:
        for layer in layers:
            layer.__dict__["forward"] = _forward_of(layer)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)  # the class's own shows again


def _forward_of(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        weight, bias = layer.weight, layer.bias
        plain = x.dtype == weight.dtype == torch.float32 and x.device.type == weight.device.type == "cpu"
        if not plain or x.numel() < FEW_ROWS * layer.in_features or torch.is_autocast_enabled("cpu"):
            return functional.linear(x, weight, bias)
        if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
            return cast(Tensor, cast(Any, _Linear).apply(x, weight, bias))
        return _product(x, weight, bias)

    return forward


class _Linear(torch.autograd.Function):
    """`functional.linear` of x (..., inputs), a weight (outputs, inputs) and a bias (outputs,) or None."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _product(rows, weight.t(), None).view(x.shape) if of_x else None,
            # Contiguous, because the operator takes milliseconds for rows that lie apart.
            _product(rows.contiguous().t(), x.reshape(-1, x.shape[-1]).contiguous().t(), None) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))
