"""Shards a model among the processes that train it, by torch's FSDP: each has its part of every weight, of the
gradients and of the optimizer's moments, and gathers a block's weights only while it computes the block.

Accelerate's plugin does the same, but on cards alone, and leaves a CPU's processes with the whole model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from lib.model.machine.products import onednn_products


@contextmanager
def sharded(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Yields a copy of the model, sharded on the device; the model itself stays as it is, whole on the CPU."""
    parts = copy.deepcopy(model)
    for module in parts.modules():
        module.__dict__.pop("forward", None)  # of `onednn_products`, which knows the weights of `model`
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in _blocks(parts):
        fully_shard(block, mesh=mesh)
        if hasattr(block, "at"):  # the last block's work at one position, which is called instead of `forward`
            register_fsdp_forward_method(block, "at")
    fully_shard(parts, mesh=mesh)
    with onednn_products(parts):
        yield parts


def _blocks(model: nn.Module) -> list[Any]:
    """Returns the modules of the list that has most of the model's weights, those without any left out."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    largest = max(lists, key=_weights, default=nn.ModuleList())
    return [block for block in largest if _weights(block)]


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
