"""Callbacks by which `lib` reports progress, and what a training measures on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Listener:
    """Hears of a run and its training while they go on; what is not given is heard by nobody."""

    # Each evaluation, as a row of `lib.training.history`.
    on_row: Callable[[Mapping[str, float]], None] = lambda row: None
    # What the published procedure prints `before` or `after`: see `lib.training.published`.
    on_figures: Callable[[str, Mapping[str, float]], None] = lambda part, figures: None
    # After each epoch its number, from 1, and what a model that learns to follow instructions wrote.
    on_sample: Callable[[int, str], None] = lambda epoch, text: None
    progress: Progress = silent
    warn: Callable[[str], None] = lambda sentence: None
    # A step, by name, when it begins; and with what became of it, after so many seconds.
    on_begin: Callable[[str], None] = lambda step: None
    on_end: Callable[[str, str, float], None] = lambda step, state, seconds: None


NOBODY = Listener()
