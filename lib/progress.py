"""Callbacks through which `lib` reports progress, and what a training measures on the way."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Called repeatedly during long work."""

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        """`done` of `total` (None: unknown), counted in `unit`: "bytes", "messages", "tokens", "steps"."""


def silent(done: int, total: int | None, unit: str) -> None:
    """Nobody is listening."""


def part_of(progress: Progress, before: int, total: int) -> Progress:
    """Returns a callback for one of several pieces of work, which adds `before` and reports `total` for all of them."""

    whole = total

    def report(done: int, total: int | None, unit: str) -> None:  # noqa: ARG001 - the piece's own total
        progress(before + done, whole, unit)

    return report


def logged(sentence: str) -> None:
    """Says a sentence in the log."""
    logging.getLogger(__name__).warning("%s", sentence)


@dataclass(frozen=True)
class Listener:
    """Callbacks for a run and its training; each does nothing by default."""

    # Each evaluation, as a row of `lib.training.history`.
    on_row: Callable[[Mapping[str, float]], None] = lambda row: None
    # The published procedure's figures `before` or `after`: see `lib.training.published`.
    on_figures: Callable[[str, Mapping[str, float]], None] = lambda part, figures: None
    # Each epoch's number, from 1, and a text that a model which follows instructions generated.
    on_sample: Callable[[int, str], None] = lambda epoch, text: None
    progress: Progress = silent
    warn: Callable[[str], None] = lambda sentence: None
    # A sentence that belongs to what is trained: it is said now, and kept with it.
    remark: Callable[[str], None] = logged
    # A step's name when it begins; and its name, final state and seconds when it ends.
    on_begin: Callable[[str], None] = lambda step: None
    on_end: Callable[[str, str, float], None] = lambda step, state, seconds: None


NOBODY = Listener()


def in_words(row: Mapping[str, float]) -> str:
    """Says in one line what an evaluation of a training measured."""
    measured = (
        f"{name.replace('_', ' ')} {f'{value:.2%}' if name.endswith('accuracy') else f'{value:.3f}'}"
        for name, value in row.items()
        if name.endswith(("loss", "accuracy")) and not math.isnan(value)
    )
    return f"step {int(row['step'])}, epoch {row['epoch']:.2f}: {', '.join(measured)}"
