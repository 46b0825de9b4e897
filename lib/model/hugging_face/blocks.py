"""Cuts a network of transformers at any of its blocks, without knowing its family.

Frozen blocks are passed over in place: their `forward` returns what is put in, so that the network's own code still
makes masks, rotary tables, and local or global attention for the blocks that follow.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


class _StopError(Exception):
    """Ends a forward pass whose result is known."""


class Blocks:
    """The blocks of a network, from the first to the last; none, and the reason in `uncut`, if the network has no list
    of `depth` blocks (ALBERT runs one block again and again)."""

    def __init__(self, network: nn.Module, depth: int) -> None:
        found = _find(network, depth)
        self.uncut = None if found is not None else f"it has no list of {depth} blocks, one after the other"
        self.modules = nn.ModuleList() if found is None else found
        self._lengths: list[int | None] = [
            None
        ] * depth  # of the tuple that a block returns (None: it returns a tensor)

    def __len__(self) -> int:
        return len(self.modules)

    def learn_forms(self, run: Callable[[], Any]) -> None:
        """Runs the network once to see whether each block returns a tensor or a tuple."""
        with ExitStack() as hooks:
            for index, block in enumerate(self.modules):

                def note(module: nn.Module, inputs: Any, output: Any, index: int = index) -> None:  # noqa: ARG001
                    self._lengths[index] = len(output) if isinstance(output, tuple) else None

                hooks.callback(block.register_forward_hook(note).remove)
            run()

    def output_of(self, count: int, run: Callable[[], Any]) -> Tensor:
        """Returns what leaves the first `count` blocks (1 or more) in `run`, which goes no further."""
        found: list[Tensor] = []

        def stop(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001 - torch's signature
            found.append(output[0] if isinstance(output, tuple) else output)
            raise _StopError

        hook = self.modules[count - 1].register_forward_hook(stop)
        try:
            run()
        except _StopError:
            pass
        finally:
            hook.remove()
        return found[0]

    @contextmanager
    def passed_over(self, count: int, output: Tensor) -> Iterator[None]:
        """Inside the block, the first `count` blocks compute nothing, and `output` is what leaves the last of them."""
        passed = list(self.modules)[:count]
        try:
            for block, length in zip(passed, self._lengths, strict=False):
                block.forward = _returning(output, length)
            yield
        finally:
            for block in passed:
                block.__dict__.pop("forward", None)  # the class's own shows again


def _returning(output: Tensor, length: int | None) -> Callable[..., Any]:
    whole = output if length is None else (output, *[None] * (length - 1))
    return lambda *inputs, **options: whole


def _find(network: nn.Module, depth: int) -> nn.ModuleList | None:
    """Returns the shallowest list of `depth` modules."""
    lists = [
        (name.count("."), module)
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    return min(lists, key=lambda found: found[0])[1] if lists else None


def modules_after(network: nn.Module, blocks: Blocks, run: Callable[[], Any]) -> list[nn.Module]:
    """Returns the modules with parameters of their own that `run` calls only after the last block: a final norm, a
    pooling layer, a head; of a network without blocks, those that it calls at all."""
    owners = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
    done = not len(blocks)
    early: set[int] = set()
    late: list[nn.Module] = []

    def finish(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001
        nonlocal done
        done = True

    def note(module: nn.Module, inputs: Any) -> None:  # noqa: ARG001
        if not done:
            early.add(id(module))
        elif not any(module is other for other in late):
            late.append(module)

    with ExitStack() as hooks:
        for block in list(blocks.modules)[-1:]:
            hooks.callback(block.register_forward_hook(finish).remove)
        for owner in owners:
            hooks.callback(owner.register_forward_pre_hook(note).remove)
        run()
    return [module for module in late if id(module) not in early]
