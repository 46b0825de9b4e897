"""An objective is one file: what the loop measures and the history's columns come from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.classify.single_label import SingleLabel
from tests.support.toy_training import MAX_LENGTH, TRAIN, VALIDATION, classifier, settings


class SeveralLabels:
    """Each message has any of the labels: what another objective looks like."""

    measures = ("exact", "hamming")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs))

    def weight(self, targets: Tensor) -> float:
        return len(targets)

    def measure(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, float]:
        right = (torch.cat(list(outputs)) > 0) == (torch.cat(list(targets)) > 0.5)
        return {"exact": right.all(dim=1).double().mean().item(), "hamming": right.double().mean().item()}

    def checked(self, targets: Sequence[Any] | NDArray[np.integer[Any]], classes: int, split: str) -> Tensor:
        return torch.tensor(targets)


def several(split: EncodedMessages) -> EncodedMessages:
    """Those of class 1 have both labels."""
    return EncodedMessages(split.inputs, [[1.0, float(target)] for target in split.targets])


def test_another_objective_needs_nothing_but_itself(tmp_path: Path) -> None:
    model = classifier(pooling="mean", trainable="all")
    history = finetune(
        model,
        {"train": several(TRAIN), "validation": several(VALIDATION)},
        settings=settings(epochs=8, evaluate_batches=None),
        padding="batch",
        max_length=MAX_LENGTH,
        objective=SeveralLabels(),
        scratch=tmp_path,
    ).history
    measured = [f"{split}_{what}" for what in ("loss", *SeveralLabels.measures) for split in ("train", "validation")]
    assert list(history.columns[-len(measured) :]) == measured
    assert "validation_accuracy" not in history
    last = history.iloc[-1]
    assert last.validation_exact > 0.9
    assert last.validation_exact <= last.validation_hamming


def test_a_single_labels_loss_and_accuracy() -> None:
    objective, logits, targets = SingleLabel(), torch.tensor([[0.0, 1.0], [3.0, 1.0]]), torch.tensor([1, 1])
    assert objective.loss(logits, targets).item() == F.cross_entropy(logits, targets).item()
    assert objective.measure([logits[:1], logits[1:]], [targets[:1], targets[1:]]) == {"accuracy": 0.5}
    weighted = SingleLabel(class_weights=(1.0, 3.0)).loss(logits, torch.tensor([0, 1]))
    losses = F.cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    assert weighted.item() == ((losses[0] + 3 * losses[1]) / 4).item()
    assert SingleLabel(ignore_index=1).loss(logits, targets).item() == 0
