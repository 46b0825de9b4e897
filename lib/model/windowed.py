"""A classifier of texts by their windows, as it is trained: the loss is that of the pooled logits of a text."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.text.long_texts import WindowPooling


class Windowed(nn.Module):
    """A classifier whose rows are windows of texts.

    rows: how many windows are computed at once. Where a batch has more, those of each part are computed again for its
    gradients, so that a batch with a very long text needs no more memory than one of so many rows.
    """

    def __init__(self, classifier: nn.Module, *, pooling: WindowPooling, rows: int) -> None:
        super().__init__()
        self.classifier, self.pooling, self.rows = classifier, pooling, rows

    def forward(self, inputs: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """Returns logits (texts, classes) float32 of padded windows, as a classifier takes them, of which each text has
        `counts` (texts,) int64, one after another."""
        return pool(self._logits(inputs, lengths), counts, self.pooling)

    def _logits(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if len(inputs) <= self.rows:
            return cast(Tensor, self.classifier(inputs, lengths))
        parts: list[Tensor] = []
        order = lengths.argsort(stable=True)
        for rows in torch.split(order, self.rows):
            ours = lengths[rows]
            part = inputs[rows, : int(ours[-1])]
            if torch.is_grad_enabled():
                parts.append(checkpoint(self.classifier, part, ours, use_reentrant=False))
            else:
                parts.append(self.classifier(part, ours))
        return torch.cat(parts)[order.argsort()]


def pool(logits: Tensor, counts: Tensor, pooling: WindowPooling) -> Tensor:
    """Returns logits (texts, classes) of those of their windows (windows, classes), as `Windows.pooled` does."""
    of_texts = torch.split(logits, counts.tolist())
    return torch.stack([each.amax(dim=0) if pooling == "max" else each.mean(dim=0) for each in of_texts])
