"""What is learnt: what a training must know of it, and nothing else.

This module holds the contract. One class for each message is `classify/single_label.py`, the next token of a text
`instruct/next_token.py`; another objective is one more file beside them.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Objective(Protocol):
    """Says what a model's outputs are worth. `outputs` are on the model's device, `targets` on the CPU."""

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured beside the loss: for each split a column of the history, `train_accuracy`."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of one batch: a scalar in nats, to be differentiated."""

    def measure(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, float]:
        """The `measures` of some batches, by name."""
