"""How `lib` tells its caller how far it has come: one callback, passed in. No bars are drawn here."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then by long work."""

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        """`done` of `total` (None: not known), counted in `unit`: "bytes", "messages", "steps"."""


def silent(done: int, total: int | None, unit: str) -> None:
    """Nobody is listening."""
