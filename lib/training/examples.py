"""Trains and measures on a split, batch by batch, for any objective."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lib.model.classifier import evaluating
from lib.model.machine.cuda import on_device
from lib.model.machine.memory import Room, parts, within_memory
from lib.training.objective import Objective


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


@dataclass(frozen=True)
class Examples:
    """A split and its objective. `model` is the trained model as accelerate wraps it.

    room: of memory, in rows of a batch.
    """

    split: Split
    objective: Objective
    room: Room = field(default_factory=Room, compare=False)

    def prepare(self, device: torch.device) -> None:
        """Called once before the first batch."""
        self.split.prepare(device)

    def loss(self, model: nn.Module, rows: list[int]) -> tuple[Tensor, int]:
        """Returns the batch's mean loss and the number of tokens read."""
        return next(self.losses(model, rows, len(rows)))

    def losses(self, model: nn.Module, rows: list[int], at_once: int) -> Iterator[tuple[Tensor, int]]:
        """Yields the losses of a batch's parts of `at_once` rows, each with the number of tokens read. A part's loss
        has the part's share in the batch, so that they add up to the batch's mean loss."""
        batches = [self.split.batch(rows[part]) for part in parts(len(rows), at_once)]
        shares = self._shares([batch.targets for batch in batches])
        for batch, share in zip(batches, shares, strict=True):
            yield _shared(self.objective.loss(_output(model, batch), batch.targets), share), batch.tokens

    def outputs(self, model: nn.Module, rows: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Returns the model's output for the batch, and its targets; for each of its parts where memory is short."""

        def work(at_once: int) -> list[tuple[Tensor, Tensor]]:
            batches = (self.split.batch(rows[part]) for part in parts(len(rows), at_once))
            return [(_output(model, batch), batch.targets) for batch in batches]

        return within_memory(work, len(rows), self.room)

    def measure(self, model: nn.Module, batches: Sequence[list[int]]) -> dict[str, float]:
        """Returns `loss` (mean of the batch means) and the objective's measures, without dropout or gradients."""
        measured: list[tuple[Tensor, Tensor]] = []
        losses: list[Tensor] = []  # read together at the end: reading makes a GPU wait
        with evaluating(model):
            for rows in batches:
                found = self.outputs(model, rows)
                shares = self._shares([targets for _, targets in found])
                parted = zip(found, shares, strict=True)
                losses.append(added([_shared(self.objective.loss(*pair), share) for pair, share in parted]))
                measured += found
            mean = math.fsum(torch.stack(losses).tolist()) / len(losses)
            outputs, targets = zip(*measured, strict=True)
            return {"loss": mean, **self.objective.measure(outputs, targets)}

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
