"""How `lib` tells its caller how far it has come, and what a training measures on the way.

Here belong the callbacks that are passed in. Nothing is drawn or printed here.
"""

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called now and then by long work."""

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        """`done` of `total` (None: not known), counted in `unit`: "bytes", "messages", "tokens", "steps"."""


def silent(done: int, total: int | None, unit: str) -> None:
    """Nobody is listening."""


def part_of(progress: Progress, before: int, total: int) -> Progress:
    """A callback for one piece of work of several: counts on, to `total`, from `before`, where the last piece ended."""

    whole = total

    def report(done: int, total: int | None, unit: str) -> None:  # noqa: ARG001 - the piece's own total
        progress(before + done, whole, unit)

    return report


class Listener(Protocol):
    """Hears what a training measures while it goes on."""

    def on_row(self, row: Mapping[str, float]) -> None:
        """A row of the history, as `lib.training.history` has them."""

    def on_figures(self, part: str, figures: Mapping[str, float]) -> None:
        """What the published procedure prints `before` or `after`: see `lib.training.published`."""

    def on_sample(self, epoch: int, text: str) -> None:
        """What a model that learns to follow instructions answers to one of them, after this many epochs."""


class Nobody:
    """A listener that does nothing."""

    def on_row(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def on_figures(self, part: str, figures: Mapping[str, float]) -> None:
        """Nothing."""

    def on_sample(self, epoch: int, text: str) -> None:
        """Nothing."""
