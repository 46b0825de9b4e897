"""The figures that the published procedure prints before its first step and after its last one.

Here belongs what they are measured on: chapter 6 of "Build a Large Language Model (From Scratch)", its notebook. How
batches are measured is the loop's business; how the loaders draw them is in `batches.py`.
"""

from collections.abc import Callable, Mapping

import torch

from lib.training.batches import Batches, EncodedMessages, Order, PublishedOrder

ACCURACY_BATCHES = 10  # of each split, before the first step
LOSS_BATCHES = 5  # likewise

Measure = Callable[[EncodedMessages, Batches], tuple[float, float]]  # mean loss and accuracy of these batches


class PublishedFigures:
    """Measures them; `figures` has what was measured so far: `before` and `after`.

    splits: `train`, `validation` and `test`. tell: hears of each part at once. Raises `ValueError` if a split is
    missing, or if the order is not the published one.
    """

    def __init__(
        self,
        measure: Measure,
        order: Order,
        splits: Mapping[str, EncodedMessages],
        tell: Callable[[str, dict[str, float]], None],
    ) -> None:
        if "test" not in splits or not isinstance(order, PublishedOrder):
            raise ValueError("the published figures need a test split, and another padding than 'batch'")
        self._measure, self._order, self._splits, self._tell = measure, order, splits, tell
        self.figures: dict[str, dict[str, float]] = {}

    def measure_before(self, *, seed: int) -> None:
        """`<split>_accuracy` of 10 batches and `<split>_loss` of 5, of a model that has not learnt yet.

        Torch's global generator is seeded first; the training loader is drawn from once for the accuracies and once
        more for the losses.
        """
        torch.manual_seed(seed)
        accuracies = {f"{name}_accuracy": share for name, (_, share) in self._measured(ACCURACY_BATCHES).items()}
        losses = {f"{name}_loss": loss for name, (loss, _) in self._measured(LOSS_BATCHES).items()}
        self._keep("before", accuracies | losses)

    def measure_after(self) -> None:
        """`<split>_accuracy` of all batches of the loaders; of training messages, those of one shuffle's whole batches.

        The generator goes on from where training left it, so that the few messages which are left out are those that
        the published procedure leaves out.
        """
        self._keep("after", {f"{name}_accuracy": share for name, (_, share) in self._measured(None).items()})

    def _keep(self, part: str, figures: dict[str, float]) -> None:
        self.figures[part] = figures
        self._tell(part, figures)

    def _measured(self, batches: int | None) -> dict[str, tuple[float, float]]:
        """Loss and accuracy of each split's first batches (None: all), drawn in the published order."""
        order, test = self._order, self._splits["test"]
        drawn = {
            "train": order.train_sample(batches),
            "validation": order.validation_sample(batches),
            "test": order.plain_sample(len(test.inputs), batches),
        }
        return {name: self._measure(self._splits[name], drawn[name]) for name in drawn}
