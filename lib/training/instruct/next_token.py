"""The objective of predicting each next token of a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.model.classifier import run_batches
from lib.model.language_model import LanguageModel
from lib.training.batches import Batches
from lib.training.instruct.batches import IGNORED, EncodedEntries

ROWS = 1024  # positions whose logits are in memory at once when it is short: 200 MB in float32, and their gradients


class Predicting(nn.Module):
    """A language model that returns its loss. The loss is inside the module so that wrappers for training (mixed
    precision, several devices) cover it too."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the summed cross-entropy (nats, a scalar) of predicting targets from inputs, both (batch, width)
        int64.

        Computes logits only where targets count (are not IGNORED): over 50,257 classes they dominate a small model's
        work.
        """
        counted = targets != IGNORED
        hidden, wanted = self.model.hidden(inputs)[counted], targets[counted]  # (counted, emb_dim), (counted,)
        if not (self.model.gradient_checkpointing and torch.is_grad_enabled()):
            return self._loss(hidden, wanted)
        rows = zip(torch.split(hidden, ROWS), torch.split(wanted, ROWS), strict=True)
        losses = [checkpoint(self._loss, some, theirs, use_reentrant=False) for some, theirs in rows]
        return torch.stack([cast(Tensor, loss) for loss in losses]).sum()

    def _loss(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(self.model.logits(hidden).float(), wanted, reduction="sum")


@dataclass(frozen=True)
class NextToken:
    """Outputs are those of `Predicting`, targets are the next tokens (batch, width) int64; measures only the loss."""

    @property
    def measures(self) -> tuple[str, ...]:
        """None."""
        return ()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch's targets that count."""
        return outputs / max(counted(targets), 1)

    def measure(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, float]:  # noqa: ARG002
        """Nothing."""
        return {}


def mean_loss(model: Predicting, split: EncodedEntries, batches: Batches) -> tuple[float, int]:
    """Returns the mean over all targets of these batches (nats per token), and their number. Unlike in training, a
    batch weighs by its targets, so the figure does not depend on how batches are made."""
    read = [split.batch(rows) for rows in batches]
    totals = run_batches(model, (batch.inputs for batch in read))
    targets = sum(counted(batch.targets) for batch in read)
    return math.fsum(torch.stack(totals).tolist()) / max(targets, 1), targets


def counted(targets: Tensor) -> int:
    """Returns how many targets count in the loss."""
    return int((targets != IGNORED).sum())
