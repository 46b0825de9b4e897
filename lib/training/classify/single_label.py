"""The objective of one class per message: cross-entropy, accuracy, and the check of targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lib.errors import LabelError
from lib.model.machine.cuda import on_device

NO_CLASS = -100  # the default of torch's cross_entropy


@dataclass(frozen=True)
class SingleLabel:
    """Outputs are logits (batch, classes), targets are classes (batch,) int64, from 0.

    class_weights: one factor per class (None: equal). ignore_index: a class left out of the loss.
    """

    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None

    @property
    def measures(self) -> tuple[str, ...]:
        """Accuracy: the share of messages whose most probable class is theirs, 0 to 1."""
        return ("accuracy",)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy (nats), weighted by class if there are class weights; the batch mean."""
        ignored = NO_CLASS if self.ignore_index is None else self.ignore_index
        if self.ignore_index is not None and bool((targets == ignored).all()):
            return outputs.sum() * 0  # torch's mean over nothing is not a number
        weights = None if self.class_weights is None else _on(outputs.device, self.class_weights)
        return F.cross_entropy(outputs, on_device(targets, outputs.device), weight=weights, ignore_index=ignored)

    def weight(self, targets: Tensor) -> float:
        """The sum of the class weights of the targets that count."""
        counted = targets if self.ignore_index is None else targets[targets != self.ignore_index]
        return len(counted) if self.class_weights is None else float(torch.tensor(self.class_weights)[counted].sum())

    def measure(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, float]:
        """Returns `accuracy` over all messages of the batches."""
        right = torch.cat(list(outputs)).argmax(dim=1).cpu() == torch.cat(list(targets))
        return {"accuracy": int(right.sum()) / len(right)}

    def checked(self, targets: Sequence[int] | NDArray[np.integer[Any]], classes: int, split: str) -> Tensor:
        """Returns the targets (messages,) int64; raises LabelError if a target or the class weights do not fit
        `classes`."""
        if self.class_weights is not None and len(self.class_weights) != classes:
            raise LabelError(f"{len(self.class_weights)} class weights were given for {classes} labels")
        numbers = np.array(targets, np.int64)
        least, most = int(numbers.min()), int(numbers.max())
        if least < 0 or most >= classes:
            raise LabelError(
                f"The {split} messages have targets from {least} to {most}, and the classifier has {classes} labels,"
                " numbered from 0"
            )
        return torch.from_numpy(numbers)


@cache
def _on(device: torch.device, weights: tuple[float, ...]) -> Tensor:
    """Returns the class weights there; always the same tensor, which a recorded step goes on reading. A training that
    is resumed at the end of an epoch needs them in an evaluation first, of which no gradient could take a tensor."""
    with torch.inference_mode(False):
        return torch.tensor(weights, device=device)


SINGLE_LABEL = SingleLabel()
