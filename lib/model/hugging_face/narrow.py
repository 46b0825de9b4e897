"""Computes only the position that the head reads in the last block, without knowing its family.

Of a block, only keys and values need every position. Which of its linear layers may see one position is found out by
trying: where numbers that are not numbers at all other positions leave what is read as it was, nothing depends on them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from lib.model.adapters import linear_layers

CLOSE = 1e-5  # difference of an output, relative to the largest, that rounding explains


class Narrowing:
    """The linear layers of a block that compute one position of each sequence.

    one: their output has length 1, and is broadcast where it is added. spread: it is repeated to the full length,
    because what follows gives it a fixed shape.
    """

    def __init__(self, one: Sequence[nn.Module] = (), spread: Sequence[nn.Module] = ()) -> None:
        self.one, self.spread = tuple(one), tuple(spread)

    @contextmanager
    def at(self, positions: Tensor, length: int) -> Iterator[None]:
        """Inside, the layers compute only `positions` (batch,) int64 of sequences of `length` tokens."""
        rows = torch.arange(len(positions), device=positions.device)

        def pick(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG001 - torch's signature
            (x,) = inputs
            return (x if x.shape[1] == 1 else x[rows, positions].unsqueeze(1),)  # (batch, 1, width)

        def spread(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:  # noqa: ARG001
            return output.expand(-1, length, -1)

        with ExitStack() as hooks:
            for module in (*self.one, *self.spread):
                hooks.callback(module.register_forward_pre_hook(pick).remove)
            for module in self.spread:
                hooks.callback(module.register_forward_hook(spread).remove)
            yield


def find_narrowing(block: nn.Module, run: Callable[[], Tensor], positions: Tensor, length: int) -> Narrowing:
    """Returns the largest narrowing of `block` that leaves `run`'s result unchanged.

    run: computes what is read at `positions` (batch,) of sequences of `length` tokens.
    """
    wanted = run()
    one: list[nn.Module] = []
    spread: list[nn.Module] = []

    def holds(*tried: Sequence[nn.Module]) -> bool:
        # Where what follows gives a tensor a fixed shape, torch raises.
        with suppress(RuntimeError, ValueError, IndexError), Narrowing(*tried).at(positions, length):
            found = run()
            return found.shape == wanted.shape and close(found, wanted)
        return False

    for layer in linear_layers(block).values():
        if not _reads_one(layer, run, positions):
            continue
        if holds([*one, layer], spread):
            one.append(layer)
        elif holds(one, [*spread, layer]):
            spread.append(layer)
    return Narrowing(one, spread)


def _reads_one(layer: nn.Module, run: Callable[[], Tensor], positions: Tensor) -> bool:
    """Whether `run` reads of the layer's output (batch, length, width) only `positions`."""

    def poison(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:  # noqa: ARG001
        rows = torch.arange(len(output), device=output.device)
        poisoned = torch.full_like(output, math.nan)
        poisoned[rows, positions] = output[rows, positions]
        return poisoned

    hook = layer.register_forward_hook(poison)
    try:
        return bool(run().isfinite().all())
    except (RuntimeError, ValueError, IndexError):  # an output of another shape
        return False
    finally:
        hook.remove()


def close(found: Tensor, wanted: Tensor) -> bool:
    """Whether two results differ by no more than rounding."""
    return bool((found - wanted).abs().max() <= CLOSE * max(1.0, float(wanted.abs().max())))
