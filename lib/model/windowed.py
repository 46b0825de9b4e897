"""A classifier of texts by their windows, as it is trained: the loss is that of the pooled logits of a text."""

from collections.abc import Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.model.machine.cuda import on_device
from lib.text.long_texts import WindowPooling


class Windowed(nn.Module):
    """A classifier whose rows are windows of texts.

    rows: how many windows are computed at once. Where a batch has more, those of each part are computed again for its
    gradients, so that a batch with a very long text needs no more memory than one of so many rows.
    """

    def __init__(self, classifier: nn.Module, *, pooling: WindowPooling, rows: int) -> None:
        super().__init__()
        self.classifier, self.pooling, self.rows = classifier, pooling, rows

    def forward(self, inputs: Tensor, lengths: Tensor, windows: Sequence[Sequence[int]]) -> Tensor:
        """Returns logits (texts, classes) float32 of padded windows, one text's after another's, as a classifier takes
        them. windows: the lengths of each text's windows, on the host, which plans with them what a GPU computes."""
        return pool(self._logits(inputs, lengths, windows), [len(text) for text in windows], self.pooling)

    def _logits(self, inputs: Tensor, lengths: Tensor, windows: Sequence[Sequence[int]]) -> Tensor:
        if len(inputs) <= self.rows:
            return cast(Tensor, self.classifier(inputs, lengths))
        known = list(chain.from_iterable(windows))
        order = sorted(range(len(known)), key=known.__getitem__)
        on_inputs = on_device(torch.tensor(order), inputs.device)
        parts: list[Tensor] = []
        for cut, rows in zip(range(0, len(order), self.rows), torch.split(on_inputs, self.rows), strict=True):
            longest = known[order[min(cut + self.rows, len(order)) - 1]]
            part, ours = inputs[rows, :longest], lengths[rows]
            if torch.is_grad_enabled():
                parts.append(checkpoint(self.classifier, part, ours, use_reentrant=False))
            else:
                parts.append(self.classifier(part, ours))
        return torch.cat(parts)[on_inputs.argsort()]


def pool(logits: Tensor, counts: Sequence[int], pooling: WindowPooling) -> Tensor:
    """Returns logits (texts, classes) of those of their windows (windows, classes), as `Windows.pooled` does."""
    of_texts = torch.split(logits, list(counts))
    return torch.stack([each.amax(dim=0) if pooling == "max" else each.mean(dim=0) for each in of_texts])
