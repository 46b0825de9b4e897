"""Trains and measures on a split, batch by batch, for any objective."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lib.model.classifier import on_device, run_batches
from lib.training.batches import Batches
from lib.training.objective import Objective


class Batch(NamedTuple):
    """Examples as tensors."""

    inputs: tuple[Tensor, ...]  # what the model is called with
    targets: Tensor  # on the CPU
    tokens: int  # read by the model, without padding


class Split(Protocol):
    """A split's examples by position."""

    def prepare(self, device: torch.device) -> None:
        """Called once before the first batch, to move data to the device."""

    def batch(self, rows: list[int]) -> Batch:
        """The examples at these positions."""


@dataclass(frozen=True)
class Examples:
    """A split and its objective. `model` is the trained model as accelerate wraps it."""

    split: Split
    objective: Objective

    def prepare(self, device: torch.device) -> None:
        """Called once before the first batch."""
        self.split.prepare(device)

    def loss(self, model: nn.Module, rows: list[int]) -> tuple[Tensor, int]:
        """Returns the batch's mean loss and the number of tokens read."""
        inputs, targets, tokens = self.split.batch(rows)
        device = next(model.parameters()).device
        return self.objective.loss(model(*(on_device(each, device) for each in inputs)), targets), tokens

    def measure(self, model: nn.Module, batches: Batches) -> dict[str, float]:
        """Returns `loss` (mean of the batch means) and the objective's measures, without dropout or gradients."""
        targets: list[Tensor] = []

        def inputs() -> Iterator[tuple[Tensor, ...]]:
            for rows in batches:
                batch = self.split.batch(rows)
                targets.append(batch.targets)
                yield batch.inputs

        outputs = run_batches(model, inputs())
        losses = [self.objective.loss(each, theirs) for each, theirs in zip(outputs, targets, strict=True)]
        mean = math.fsum(torch.stack(losses).tolist()) / len(losses)
        return {"loss": mean, **self.objective.measure(outputs, targets)}
