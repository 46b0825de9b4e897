"""How `lib` tells its caller how far it has come: one callback, passed in. No bars are drawn here."""

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
