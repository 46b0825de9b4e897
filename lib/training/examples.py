"""What the training loop asks of a split, whatever is learnt from it.

Here belongs the contract alone. Messages with classes fulfil it in `classification.py`, texts whose next token is to be
predicted in `next_token.py`.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lib.training.batches import Batches


class Measured(NamedTuple):
    """What some batches came to."""

    loss: float  # nats, mean of the batches' means
    accuracy: float | None  # share of right answers, 0 to 1; None where nothing like it is measured


class Examples(Protocol):
    """A split: batches, lists of positions in it, can be learnt from and measured.

    `model` is what is trained, as accelerate wraps it; tensors go to the device where it is.
    """

    def prepare(self, device: torch.device) -> None:
        """Called once before the first batch: what should lie on the device may be moved there."""

    def loss(self, model: nn.Module, batch: list[int]) -> tuple[Tensor, int]:
        """The batch's mean loss (a scalar in nats, to be differentiated), and how many tokens it reads."""

    def measure(self, model: nn.Module, batches: Batches) -> Measured:
        """Without dropout or gradients; the model's mode is left as it was."""
