"""Learning to write: the loss of predicting each next token of a text.

Here belong the loss, and measuring it. Which positions count is decided in `instruction_batches.py`; what is trained,
in `instruct.py`.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.model.classifier import on_device
from lib.model.gpt2.gpt import GPT
from lib.training.batches import Batches
from lib.training.examples import Measured
from lib.training.instruct.batches import IGNORED, EncodedEntries

# Positions whose logits are in memory at once where memory is short: of 50,257 tokens in float32 200 MB, and as much
# again for their gradients.
ROWS = 1024


class NextToken(nn.Module):
    """A GPT with the loss of what it predicts.

    In one module, so that what is wrapped around a module for its training (mixed precision, several devices) is around
    the loss too.
    """

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        self.gpt = gpt

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross-entropies (nats, a scalar) of predicting targets from inputs, both (batch, width) int64.

        Logits are computed only where a target counts (is not IGNORED): of 50,257 classes they are most of the work of
        a small GPT.
        """
        counted = targets != IGNORED
        hidden, wanted = self.gpt.hidden(inputs)[counted], targets[counted]  # (counted, emb_dim), (counted,)
        if not (self.gpt.gradient_checkpointing and torch.is_grad_enabled()):
            return self._loss(hidden, wanted)
        rows = zip(torch.split(hidden, ROWS), torch.split(wanted, ROWS), strict=True)
        losses = [checkpoint(self._loss, some, theirs, use_reentrant=False) for some, theirs in rows]
        return torch.stack([cast(Tensor, loss) for loss in losses]).sum()

    def _loss(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(self.gpt.logits(hidden).float(), wanted, reduction="sum")


@dataclass
class TextEntries:
    """A split of entries; fulfils `Examples`, for a model that is a `NextToken`."""

    entries: EncodedEntries

    def prepare(self, device: torch.device) -> None:
        """Nothing: tokens are small."""

    def loss(self, model: nn.Module, batch: list[int]) -> tuple[Tensor, int]:
        """The mean over the batch's targets that count; padding is not counted among the tokens."""
        total, targets, tokens = self._total(model, batch)
        return total / max(targets, 1), tokens

    @torch.inference_mode()
    def measure(self, model: nn.Module, batches: Batches) -> Measured:
        """Mean of the batches' losses; there is no accuracy."""
        losses = [total / max(targets, 1) for total, targets in self._totals(model, batches)]
        return Measured(math.fsum(torch.stack(losses).tolist()) / len(losses), None)

    @torch.inference_mode()
    def mean_loss(self, model: nn.Module, batches: Batches) -> tuple[float, int]:
        """The mean over all targets of these batches (nats a token), and how many there are.

        Other than in `measure`, a batch counts by its targets, so the figure does not depend on how batches are made.
        """
        totals = list(self._totals(model, batches))
        targets = sum(count for _, count in totals)
        return math.fsum(torch.stack([total for total, _ in totals]).tolist()) / max(targets, 1), targets

    def _totals(self, model: nn.Module, batches: Batches) -> list[tuple[Tensor, int]]:
        was_training = model.training
        model.eval()
        try:
            return [self._total(model, batch)[:2] for batch in batches]
        finally:
            model.train(was_training)

    def _total(self, model: nn.Module, batch: list[int]) -> tuple[Tensor, int, int]:
        """The loss's sum, over how many targets, and how many tokens were read."""
        read = self.entries.batch(batch)
        device = next(model.parameters()).device
        total = model(on_device(read.inputs, device), on_device(read.targets, device))
        return total, int((read.targets != IGNORED).sum()), int(read.lengths.sum())
