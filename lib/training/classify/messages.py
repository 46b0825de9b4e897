"""Makes batches for a classifier from messages and their targets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.model.features.file import Features, KeptFeatures
from lib.model.padding import pad_batch
from lib.text.batching import padded_width
from lib.text.windows import Windows, rows_of
from lib.training.examples import Batch

WIDTHS = 32  # tokens; see `Messages.batch`


class Messages(NamedTuple):
    """A split of messages: tokens or features (length, width of the backbone) of each or of its windows, and targets
    (messages, ...); `width` and `pad` as in `pad_batch`."""

    inputs: Sequence[Any]
    targets: Tensor
    width: int | None
    pad: int
    most: int | None = None  # tokens that the network takes
    recorded: bool = False  # whether steps on features may be recorded: see `recordable`

    def prepare(self, device: torch.device) -> None:
        """Moves features to the device."""
        rows = rows_of(self.inputs)
        if isinstance(rows, KeptFeatures):
            rows.move_to(device)

    @property
    def recordable(self) -> bool:
        """Whether batches are features on a card, and so of few shapes, and the network may be recorded."""
        return self.recorded and isinstance(self.inputs, Features) and self.inputs.resident

    def targets_of(self, rows: list[int]) -> Tensor:
        """Returns the targets of these messages (batch, ...)."""
        return self.targets[rows]

    def batch(self, rows: list[int]) -> Batch:
        """Returns padded messages and their lengths, as a classifier takes them; or padded windows, their lengths and
        those of each message's, as `Windowed` does. Features on a card are padded to a multiple of WIDTHS, so that they
        have few shapes."""
        targets = self.targets[rows]
        if isinstance(self.inputs, Windows):
            windows = self.inputs.take(rows)
            padded, lengths = pad_batch(windows.rows, self.width, self.pad)
            each = [part.tolist() for part in torch.split(lengths, list(windows.counts))]
            return Batch((padded, lengths, each), targets, int(lengths.sum()))
        if isinstance(self.inputs, Features) and self.inputs.resident:
            width = padded_width(self.inputs.lengths[rows].tolist(), self.width)
            if self.recordable and self.width is None:
                width = -(-width // WIDTHS) * WIDTHS
            padded, lengths = self.inputs.padded(rows, width if self.most is None else min(width, self.most))
        else:
            padded, lengths = pad_batch([self.inputs[row] for row in rows], self.width, self.pad)
        return Batch((padded, lengths), targets, int(lengths.sum()))
