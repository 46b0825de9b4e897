"""Joins this process with those that it trains with, by torch.distributed: gloo between CPUs, NCCL between cards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import DistributedDataParallelKwargs
from torch import Tensor

from lib.errors import RecipeError
from lib.processes.stopping import Held, signals_held
from lib.processes.variables import variables_set
from lib.training.distributed.place import Place

Result = TypeVar("Result")


class Group:
    """A team of several processes; see `lib.training.team`.

    What the hosts tell each other goes by gloo, so that no card waits for it. asked: lets wishes to stop wait. saved:
    gets the folder of each new checkpoint, in the first process.
    """

    def __init__(self, asked: Callable[[], AbstractContextManager[Held]], saved: Callable[[Path], None]) -> None:
        self.size, self.rank = dist.get_world_size(), dist.get_rank()
        self._hosts = dist.new_group(backend="gloo")
        self._asking: tuple[Any, Tensor] | None = None
        self._asked, self._saved = asked, saved

    def share(self, rows: list[int]) -> list[int]:
        """Every so manieth row: batches may be sorted by length, and all shall have equally much to do."""
        return rows[self.rank :: self.size]

    def first(self, make: Callable[[], Result]) -> Result:
        """Sends what the first process makes to the others."""
        made = [make() if self.rank == 0 else None]
        dist.broadcast_object_list(made, src=0, group=self._hosts)
        return cast(Result, made[0])

    def first_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sends the first process's tensors one by one, so that none is held twice."""
        kinds = self.first(lambda: {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
        sent = {}
        for name, (shape, dtype) in kinds.items():
            tensor = tensors[name].contiguous() if self.rank == 0 else torch.empty(shape, dtype=dtype)
            dist.broadcast(tensor, src=0, group=self._hosts)
            sent[name] = tensor
        return sent

    def all(self, value: Result) -> list[Result]:
        """Sends what each process has to all others."""
        every: list[Result | None] = [None] * self.size
        dist.all_gather_object(every, value, group=self._hosts)
        return cast(list[Result], every)

    def any_asked(self, asked: bool) -> bool:
        """Answers by what all processes said at the last call, so that nobody waits for an answer."""
        flag = torch.tensor(int(asked))
        before, self._asking = self._asking, (dist.all_reduce(flag, group=self._hosts, async_op=True), flag)
        if before is None:
            return False
        work, earlier = before
        work.wait()
        return bool(earlier.item())

    def asked(self) -> AbstractContextManager[Held]:
        """Does what this process's launcher has for it."""
        return self._asked()

    def saved(self, folder: Path) -> None:
        """Does what this process's launcher has for it."""
        self._saved(folder)

    def handlers(self) -> list[Any]:
        """Parameters that a batch leaves unused, such as a pooler, have no gradient, as in one process. Looking for
        them also keeps the order in which gradients are added up: torch would change it after the first step, and so a
        resumed training would round otherwise."""
        return [DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)]


@contextmanager
def joined(
    place: Place,
    *,
    store: dist.Store | None = None,
    asked: Callable[[], AbstractContextManager[Held]] = signals_held,
    saved: Callable[[Path], None] = lambda folder: None,
) -> Iterator[Group]:
    """Meets the other processes of a training, and leaves them at the end of the block.

    store: where they meet (None: somebody else has brought them together). asked: lets wishes to stop wait; by default
    this process's signals, of which its launcher sends one. saved: see `Group`. Raises RecipeError where this machine
    has fewer cards than processes.
    """
    if place.device == "cuda":
        _take_card(place)
    with variables_set(place.variables):  # Accelerate reads them
        if store is not None:
            backend = "nccl" if place.device == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size)
        yield Group(asked, saved)
        # Not after an error: the others may be where they do not answer, and this process ends.
        if store is not None:
            dist.destroy_process_group()


def _take_card(place: Place) -> None:
    cards = torch.cuda.device_count()
    if place.local_size > cards:
        raise RecipeError(
            f"training.processes puts {place.local_size} processes on this machine, and torch finds {cards} cards here,"
            " of which each needs one: lower it, or set training.device to cpu"
        )
    torch.cuda.set_device(place.local_rank)
