"""The place on a Ray cluster where the processes of a training and the step's process leave things for each other."""

from __future__ import annotations

from typing import Any


class Mailbox:
    """Is made an actor: each call is done after the earlier ones of the same caller."""

    def __init__(self) -> None:
        self._waiting: list[dict[str, Any]] = []
        self._said: dict[str, Any] = {}

    def put(self, message: dict[str, Any]) -> None:
        """Leaves a message for the step's process."""
        self._waiting.append(message)

    def take(self) -> list[dict[str, Any]]:
        """Returns the messages since the last time, in order."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def waiting(self) -> int:
        """Returns how many messages have not been taken yet."""
        return len(self._waiting)

    def say(self, what: str, value: Any) -> None:
        """Says something to all processes."""
        self._said[what] = value

    def said(self, what: str) -> Any:
        """Returns what was said; None: nothing."""
        return self._said.get(what)
