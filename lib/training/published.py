"""The figures that the published procedures print before the first step and after the last one.

Here belongs what they are measured on: chapters 6 and 7 of "Build a Large Language Model (From Scratch)", their
notebooks. How batches are measured is the splits' business; how the loaders draw them is in `batches.py`.
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
    """Figures beside the training's own; `figures` has what was measured so far, by `before` and `after`."""

    figures: dict[str, dict[str, float]]

    def measure_before(self, model: nn.Module) -> None:
        """Before the first step; torch's global generator may be seeded."""

    def measure_after(self, model: nn.Module) -> None:
        """After the last step, with the generator as training has left it."""


class ClassificationFigures:
    """Those of chapter 6; `tell` hears of each part at once.

    splits: `train`, `validation` and `test`, with test's number of messages in `test_count`.
    """

    def __init__(
        self, order: PublishedOrder, splits: Mapping[str, Examples], test_count: int, *, seed: int, tell: Tell
    ) -> None:
        self._order, self._splits, self._test_count, self._seed, self._tell = order, splits, test_count, seed, tell
        self.figures: dict[str, dict[str, float]] = {}

    def measure_before(self, model: nn.Module) -> None:
        """`<split>_accuracy` of 10 batches and `<split>_loss` of 5, of a model that has not learnt yet.

        Torch's global generator is seeded first; the training loader is drawn from once for the accuracies and once
        more for the losses.
        """
        torch.manual_seed(self._seed)
        accuracies = _accuracies(self._measured(model, ACCURACY_BATCHES))
        losses = {f"{name}_loss": each["loss"] for name, each in self._measured(model, LOSS_BATCHES).items()}
        self._keep("before", accuracies | losses)

    def measure_after(self, model: nn.Module) -> None:
        """`<split>_accuracy` of all batches of the loaders; of training messages, those of one shuffle's whole batches.

        The generator goes on from where training left it, so that the few messages which are left out are those that
        the published procedure leaves out.
        """
        self._keep("after", _accuracies(self._measured(model, None)))

    def _keep(self, part: str, figures: dict[str, float]) -> None:
        self.figures[part] = figures
        self._tell(part, figures)

    def _measured(self, model: nn.Module, batches: int | None) -> dict[str, dict[str, float]]:
        """Loss and accuracy of each split's first batches (None: all), drawn in the published order."""
        drawn = {
            "train": self._order.train_sample(batches),
            "validation": self._order.validation_sample(batches),
            "test": self._order.plain_sample(self._test_count, batches),
        }
        return {name: self._splits[name].measure(model, drawn[name]) for name in drawn}


def _accuracies(measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{name}_accuracy": each["accuracy"] for name, each in measured.items()}


class InstructionFigures:
    """Those of chapter 7: `train_loss` and `validation_loss` of 5 batches before the first step.

    `tell` hears of them.
    """

    def __init__(self, order: PublishedOrder, splits: Mapping[str, Examples], *, seed: int, tell: Tell) -> None:
        self._order, self._splits, self._seed, self._tell = order, splits, seed, tell
        self.figures: dict[str, dict[str, float]] = {}

    def measure_before(self, model: nn.Module) -> None:
        """Torch's global generator is seeded first."""
        torch.manual_seed(self._seed)
        train = self._splits["train"].measure(model, self._order.train_sample(LOSS_BATCHES))
        validation = self._splits["validation"].measure(model, self._order.validation_sample(LOSS_BATCHES))
        self.figures["before"] = {"train_loss": train["loss"], "validation_loss": validation["loss"]}
        self._tell("before", self.figures["before"])

    def measure_after(self, model: nn.Module) -> None:
        """Nothing was published."""
