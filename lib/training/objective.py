"""The contract between a training and what it learns."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Objective(Protocol):
    """Loss and measures of a model's outputs. `outputs` are on the model's device, `targets` on the CPU."""

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured besides the loss; each gives a history column per split (`train_accuracy`)."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean loss of one batch: a scalar in nats, differentiable."""

    def weight(self, targets: Tensor) -> float:
        """Returns what the batch counts in the mean loss of a larger one that it is a part of, such as its rows."""

    def measure(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, float]:
        """Returns the `measures` of some batches, by name."""
