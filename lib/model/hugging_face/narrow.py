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
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from lib.model.adapters import linear_layers

CLOSE = 1e-5  # difference of an output, relative to the largest, that rounding explains


class Narrowing:
    """What of a block computes one position of each sequence.

    one: linear layers whose output has length 1, and is broadcast where it is added. spread: those whose output is
    repeated to the full length, because what follows gives it a fixed shape. attention: the block, if torch's attention
    in it computes one query and repeats what it found.
    """

    def __init__(
        self, one: Sequence[nn.Module] = (), spread: Sequence[nn.Module] = (), attention: nn.Module | None = None
    ) -> None:
        self.one, self.spread, self.attention = tuple(one), tuple(spread), attention

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
            if self.attention is not None:
                query = _OneQuery(positions)
                hooks.callback(self.attention.register_forward_pre_hook(query.begin).remove)
                hooks.callback(self.attention.register_forward_hook(query.end, always_call=True).remove)
            yield


class _OneQuery(TorchFunctionMode):
    """Between `begin` and `end`, torch's attention answers only the query at `positions` (batch,), for all of them."""

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.positions = positions

    def begin(self, module: nn.Module, inputs: Any) -> None:  # noqa: ARG002 - torch's signature
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG002
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,  # (batch, heads, length, size)
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        batch, _, length, _ = query.shape
        rows = torch.arange(batch, device=query.device)
        if is_causal:
            seen = torch.arange(key.shape[2], device=query.device) <= self.positions[:, None]
            attn_mask = seen[:, None, None]
        elif attn_mask is not None:
            of_queries = attn_mask.expand(batch, -1, length, -1)
            attn_mask = of_queries[rows, :, self.positions].unsqueeze(2)  # (batch, 1 or heads, 1, length)
        one = query[rows, :, self.positions].unsqueeze(2)
        answer = scaled_dot_product_attention(one, key, value, attn_mask, dropout_p, **options)
        return answer.expand(-1, -1, length, -1)


def find_narrowing(block: nn.Module, run: Callable[[], Tensor], positions: Tensor, length: int) -> Narrowing:
    """Returns the largest narrowing of `block` that leaves `run`'s result unchanged.

    run: computes what is read at `positions` (batch,) of sequences of `length` tokens.
    """
    wanted = run()
    one: list[nn.Module] = []
    spread: list[nn.Module] = []

    def holds(*tried: Any) -> bool:
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
    return Narrowing(one, spread, block if holds(one, spread, block) else None)


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
