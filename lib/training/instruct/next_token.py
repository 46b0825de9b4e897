"""The objective of predicting each next token of a text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.model.classifier import evaluating
from lib.model.language_model import LanguageModel
from lib.training.examples import Examples
from lib.training.instruct.batches import IGNORED, EncodedEntries

ROWS = 1024  # positions whose logits are in memory at once when it is short: 200 MB in float32, and their gradients


class Predicting(nn.Module):
    """A language model that returns its loss. The loss is inside the module so that wrappers for training (mixed
    precision, several devices) cover it too."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, places: Tensor, wanted: Tensor) -> Tensor:
        """Returns the summed cross-entropy (nats, a scalar) of predicting tokens from inputs (batch, width) int64: at
        the flat positions `places` those in `wanted`, both (counted,) int64.

        Computes logits only there, where targets count: over 50,257 classes they dominate a small model's work. The
        places come with the batch, because a GPU that finds them itself makes the host wait for their number.
        """
        hidden = self.model.hidden(inputs).flatten(0, 1).index_select(0, places)  # (counted, emb_dim)
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

    def weight(self, targets: Tensor) -> float:
        """How many targets count."""
        return counted(targets)

    def measure(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, float]:  # noqa: ARG002
        """Nothing."""
        return {}


def mean_loss(model: Predicting, split: EncodedEntries, batches: Iterable[list[int]]) -> tuple[float, int]:
    """Returns the mean over all targets of these batches (nats per token), and their number. Unlike in training, a
    batch weighs by its targets, so the figure does not depend on how batches are made."""
    examples = Examples(split, NextToken())
    with evaluating(model):
        found = [pair for rows in batches for pair in examples.outputs(model, rows)]
        totals = torch.stack([total for total, _ in found]).tolist()
    targets = sum(counted(each) for _, each in found)
    return math.fsum(totals) / max(targets, 1), targets


def counted(targets: Tensor) -> int:
    """Returns how many targets count in the loss."""
    return int((targets != IGNORED).sum())
