"""Trains and measures on a split, batch by batch, for any objective."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lib.model.classifier import evaluating
from lib.model.machine.cuda import on_device
from lib.model.machine.memory import Room, memory_suffices, parts, within_memory
from lib.model.machine.shards import has_parts
from lib.training.objective import Objective
from lib.training.team import ALONE, Team

Measured = list[tuple[Tensor, Tensor]]  # outputs and targets of a batch's parts


class Batch(NamedTuple):
    """Examples as tensors."""

    inputs: tuple[Any, ...]  # what the model is called with: tensors, and what the host needs to know of them
    targets: Tensor  # on the CPU
    tokens: int  # read by the model, without padding


class Split(Protocol):
    """A split's examples by position."""

    def prepare(self, device: torch.device) -> None:
        """Called once before the first batch, to move data to the device."""

    @property
    def recordable(self) -> bool:
        """Whether batches are tensors of few shapes, once `prepare` has been called, so that a card can replay what is
        done with them (see `lib.model.machine.graphs`)."""

    def batch(self, rows: list[int]) -> Batch:
        """The examples at these positions."""

    def targets_of(self, rows: list[int]) -> Tensor:
        """The targets of the examples at these positions, as their batch has them."""


@dataclass(frozen=True)
class Examples:
    """A split and its objective. `model` is the trained model as accelerate wraps it.

    room: of memory, in rows of a batch. team: the processes that each compute a share of every batch.
    """

    split: Split
    objective: Objective
    room: Room = field(default_factory=Room, compare=False)
    team: Team = field(default=ALONE, compare=False)

    def prepare(self, device: torch.device) -> None:
        """Called once before the first batch."""
        self.split.prepare(device)

    def loss(self, model: nn.Module, rows: list[int]) -> tuple[Tensor, int]:
        """Returns the batch's mean loss and the number of tokens read."""
        return next(self.losses(model, rows, len(rows)))

    def losses(self, model: nn.Module, rows: list[int], at_once: int) -> Iterator[tuple[Tensor, int]]:
        """Yields the losses of parts of `at_once` rows of this process's share of a batch, each with the number of
        tokens read. A part's loss has the part's share in the whole batch, so that they add up to the batch's mean
        loss; in a team, times its size, because the gradients of its processes are averaged. Where nothing of the batch
        is left for this process, it computes a row that counts nothing: all have to take part."""
        share = self.team.share(rows)
        ours = share or rows[:1]
        batches = [self.split.batch(ours[part]) for part in parts(len(ours), at_once)]
        if self.team.size == 1:
            shares = self._shares([batch.targets for batch in batches])
        else:
            whole = self.objective.weight(self.split.targets_of(rows)) or 1.0
            count = self.team.size if share else 0.0
            shares = [count * self.objective.weight(batch.targets) / whole for batch in batches]
        for batch, part in zip(batches, shares, strict=True):
            loss = _shared(self.objective.loss(_output(model, batch), batch.targets), part)
            yield loss, batch.tokens if share else 0

    def outputs(self, model: nn.Module, rows: list[int]) -> Measured:
        """Returns the model's output for the batch, and its targets; for each of its parts where memory is short, and
        of no rows nothing."""
        if not rows:
            return []

        def work(at_once: int) -> Measured:
            batches = (self.split.batch(rows[part]) for part in parts(len(rows), at_once))
            return [(_output(model, batch), batch.targets) for batch in batches]

        if has_parts(model):  # no second try, which the others would not make
            with memory_suffices("a process's batch of training.batch_size"):
                return work(len(rows))
        return within_memory(work, len(rows), self.room)

    def _outputs_of_share(self, model: nn.Module, rows: list[int]) -> Measured:
        """Returns what `outputs` finds for this process's share of a batch. Where nothing is left for it, a sharded
        model computes a row that counts nothing: all have to take part."""
        share = self.team.share(rows)
        if not share and has_parts(model):
            self.outputs(model, rows[:1])
        return self.outputs(model, share)

    def measure(self, model: nn.Module, batches: Sequence[list[int]]) -> dict[str, float]:
        """Returns `loss` (mean of the batch means) and the objective's measures, without dropout or gradients."""
        with evaluating(model):
            found = self._together([self._outputs_of_share(model, rows) for rows in batches])
            losses: list[Tensor] = []  # read together at the end: reading makes a GPU wait
            for of_batch in found:
                shares = self._shares([targets for _, targets in of_batch])
                parted = zip(of_batch, shares, strict=True)
                losses.append(added([_shared(self.objective.loss(*pair), share) for pair, share in parted]))
            mean = math.fsum(torch.stack(losses).tolist()) / len(losses)
            outputs, targets = zip(*chain.from_iterable(found), strict=True)
            return {"loss": mean, **self.objective.measure(outputs, targets)}

    def _together(self, found: list[Measured]) -> list[Measured]:
        """Returns what all processes found, batch by batch."""
        if self.team.size == 1:
            return found
        ours = [[(output.cpu(), targets) for output, targets in of_batch] for of_batch in found]
        return [list(chain.from_iterable(of_batch)) for of_batch in zip(*self.team.all(ours), strict=True)]

    def _shares(self, targets: list[Tensor]) -> list[float | None]:
        """Returns the share of each part in the mean loss of all of them; None: there is but one."""
        if len(targets) == 1:
            return [None]
        weights = [self.objective.weight(each) for each in targets]
        return [weight / (sum(weights) or 1.0) for weight in weights]


def added(losses: list[Tensor]) -> Tensor:
    """Returns the sum of the losses of a batch's parts; that of a batch in one part as it is."""
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def _shared(loss: Tensor, share: float | None) -> Tensor:
    return loss if share is None else loss * share


def _output(model: nn.Module, batch: Batch) -> Tensor:
    device = next(model.parameters()).device
    output: Tensor = model(*(on_device(each, device) if isinstance(each, Tensor) else each for each in batch.inputs))
    return output
