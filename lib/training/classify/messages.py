"""Makes batches for a classifier from messages and their targets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.model.features.file import Features
from lib.model.padding import pad_batch
from lib.training.examples import Batch


class Messages(NamedTuple):
    """A split of messages: tokens or features (length, width of
    the backbone), and targets; `width` and `pad` as in `pad_batch`."""

    inputs: Sequence[Sequence[int] | Tensor]
    targets: Sequence[Any]
    width: int | None
    pad: int

    def prepare(self, device: torch.device) -> None:
        """Moves features to the device."""
        if isinstance(self.inputs, Features):
            self.inputs.move_to(device)

    def batch(self, rows: list[int]) -> Batch:
        """Returns padded messages and their lengths, as a classifier takes them."""
        padded, lengths = pad_batch([self.inputs[row] for row in rows], self.width, self.pad)
        return Batch((padded, lengths), torch.tensor([self.targets[row] for row in rows]), int(lengths.sum()))
