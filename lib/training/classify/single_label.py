"""Learning classes: the loss and the accuracy of messages whose class is known.

Here belong both. Checks of the data, and what is trained, are in `finetune.py`.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.model.classifier import on_device, run_batches
from lib.model.features.file import Features
from lib.text.batching import pad_batch
from lib.training.batches import Batches, EncodedMessages
from lib.training.examples import Measured

NO_CLASS = -100  # what torch's cross_entropy ignores unless told otherwise


@dataclass
class LabelledMessages:
    """A split of messages; fulfils `Examples`.

    width: as in `pad_batch`. class_weights: (classes,) float32, or None. ignore_index: a class whose messages do not
    count in the loss, or None.
    """

    messages: EncodedMessages
    width: int | None
    class_weights: Tensor | None = None
    ignore_index: int | None = None

    def prepare(self, device: torch.device) -> None:
        """Features and the weights of the classes go to the device."""
        if isinstance(self.messages.inputs, Features):
            self.messages.inputs.move_to(device)
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(device)

    def loss(self, model: nn.Module, batch: list[int]) -> tuple[Tensor, int]:
        """Cross-entropy, weighted by class where classes have weights; padding is not counted among the tokens."""
        tokens, lengths = self._padded(batch)
        device = next(model.parameters()).device
        logits = model(on_device(tokens, device), on_device(lengths, device))
        return self._loss(logits, batch), int(lengths.sum())

    def measure(self, model: nn.Module, batches: Batches) -> Measured:
        """Mean of the batches' losses, and accuracy over their messages."""
        logits = run_batches(model, (self._padded(batch) for batch in batches))
        losses = [self._loss(scores, batch) for scores, batch in zip(logits, batches, strict=True)]
        predicted = torch.cat(logits).argmax(dim=1).tolist()
        targets = [self.messages.targets[message] for batch in batches for message in batch]
        correct = sum(guess == target for guess, target in zip(predicted, targets, strict=True))
        return Measured(math.fsum(torch.stack(losses).tolist()) / len(losses), correct / len(targets))

    def _loss(self, logits: Tensor, batch: list[int]) -> Tensor:
        """Cross-entropy (nats), the mean over the batch."""
        targets = [self.messages.targets[message] for message in batch]
        ignored = NO_CLASS if self.ignore_index is None else self.ignore_index
        if all(target == ignored for target in targets):
            return logits.sum() * 0  # torch's mean over nothing is not a number
        wanted = on_device(torch.tensor(targets), logits.device)
        return F.cross_entropy(logits, wanted, weight=self.class_weights, ignore_index=ignored)

    def _padded(self, batch: list[int]) -> tuple[Tensor, Tensor]:
        return pad_batch([self.messages.inputs[message] for message in batch], self.width)
