"""The figures that the published procedures print before the first step and after the last.

Sources: the notebooks of chapters 6 and 7 of "Build a Large Language Model (From Scratch)".
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import nn

from lib.training.batches import PublishedOrder
from lib.training.examples import Examples

ACCURACY_BATCHES = 10  # of each split, before the first step of chapter 6
LOSS_BATCHES = 5  # likewise, of both chapters

Tell = Callable[[str, dict[str, float]], None]


class Published(Protocol):
    """Figures besides the training's own; `figures` holds what was measured so far, under `before` and `after`."""

    figures: dict[str, dict[str, float]]

    def measure_before(self, model: nn.Module) -> None:
        """Measures before the first step; may seed torch's global generator."""

    def measure_after(self, model: nn.Module) -> None:
        """Measures after the last step, with the generator as training left it."""


class ClassificationFigures:
    """The figures of chapter 6; `tell` gets each part as soon as it is measured.

    splits: `train`, `validation` and `test`, the last with `test_count` messages.
    """

    def __init__(
        self, order: PublishedOrder, splits: Mapping[str, Examples], test_count: int, *, seed: int, tell: Tell
    ) -> None:
        self._order, self._splits, self._test_count, self._seed, self._tell = order, splits, test_count, seed, tell
        self.figures: dict[str, dict[str, float]] = {}

    def measure_before(self, model: nn.Module) -> None:
        """Measures `<split>_accuracy` of 10 batches and `<split>_loss` of 5 before training. Seeds torch's global
        generator first; draws from the training loader once for accuracies and once for losses."""
        torch.manual_seed(self._seed)
        accuracies = _accuracies(self._measured(model, ACCURACY_BATCHES))
        losses = {f"{name}_loss": each["loss"] for name, each in self._measured(model, LOSS_BATCHES).items()}
        self._keep("before", accuracies | losses)

    def measure_after(self, model: nn.Module) -> None:
        """Measures `<split>_accuracy` of all batches; for training, of one shuffle's whole batches. The generator
        continues from training, so the same few messages are left out as in the published procedure."""
        self._keep("after", _accuracies(self._measured(model, None)))

    def _keep(self, part: str, figures: dict[str, float]) -> None:
        self.figures[part] = figures
        self._tell(part, figures)

    def _measured(self, model: nn.Module, batches: int | None) -> dict[str, dict[str, float]]:
        """Measures loss and accuracy of each split's first batches (None: all), drawn in the published order."""
        drawn = {
            "train": self._order.train_sample(batches),
            "validation": self._order.validation_sample(batches),
            "test": self._order.plain_sample(self._test_count, batches),
        }
        return {name: self._splits[name].measure(model, drawn[name]) for name in drawn}


def _accuracies(measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{name}_accuracy": each["accuracy"] for name, each in measured.items()}


class InstructionFigures:
    """The figures of chapter 7: `train_loss` and `validation_loss` of 5 batches before the first step."""

    def __init__(self, order: PublishedOrder, splits: Mapping[str, Examples], *, seed: int, tell: Tell) -> None:
        self._order, self._splits, self._seed, self._tell = order, splits, seed, tell
        self.figures: dict[str, dict[str, float]] = {}

    def measure_before(self, model: nn.Module) -> None:
        """Seeds torch's global generator first."""
        torch.manual_seed(self._seed)
        train = self._splits["train"].measure(model, self._order.train_sample(LOSS_BATCHES))
        validation = self._splits["validation"].measure(model, self._order.validation_sample(LOSS_BATCHES))
        self.figures["before"] = {"train_loss": train["loss"], "validation_loss": validation["loss"]}
        self._tell("before", self.figures["before"])

    def measure_after(self, model: nn.Module) -> None:
        """Measures nothing: nothing was published."""
