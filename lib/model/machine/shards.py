"""Tensors of which several processes have a part each: those that torch shards (DTensor), seen as any others."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether other processes have the rest of it. Asks without importing torch.distributed."""
    return hasattr(tensor, "full_tensor")


def has_parts(model: nn.Module) -> bool:
    """Whether this process has but a part of the model's weights."""
    return is_sharded(next(model.parameters()))


def whole(tensor: Tensor) -> Tensor:
    """Returns the tensor without its gradients; a sharded one as a whole on the CPU, for which all its processes have
    to ask."""
    if not is_sharded(tensor):
        return tensor.detach()
    return cast(Tensor, cast(Any, tensor.detach()).full_tensor()).cpu()


def as_part(tensor: Tensor, like: Tensor) -> Tensor:
    """Returns this process's part of a whole tensor that all of them have, as `like` is sharded; the tensor itself if
    `like` is not."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = cast(Any, like).device_mesh, cast(Any, like).placements
    return cast(Tensor, distribute_tensor(tensor.to(like.device), mesh, placements, src_data_rank=None))
