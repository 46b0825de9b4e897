"""Turns of a conversation: what was said before a question, and the parts of the text that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lib.errors import MessagesError

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


class Turn(NamedTuple):
    """What one side says: the `system` how to answer, the `user`, or the `assistant`."""

    role: str
    content: str


class Part(NamedTuple):
    """A part of a text, which is encoded as one with those around it.

    marked: whether names of special tokens in it are special tokens. They are in a chat template's words, and never in
    what people wrote. answer: whether it belongs to what the assistant writes, and so is to be learnt.
    """

    text: str
    marked: bool = False
    answer: bool = False


def earlier_turns(value: Any, where: str) -> tuple[Turn, ...]:
    """Returns the turns before a question from JSON: a list of objects with `role` and `content`. Raises MessagesError,
    which begins with `where`, for anything else, and for turns that cannot stand before a question."""
    looks = 'must be a list of objects like {"role": "user", "content": "…"}'
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise MessagesError(f"{where} {looks}")
    turns = []
    for each in value:
        if not isinstance(each, Mapping) or not all(isinstance(each.get(name), str) for name in Turn._fields):
            raise MessagesError(f"{where} {looks}")
        turns.append(Turn(each["role"], each["content"]))
    wrong = why_not_earlier(turns)
    if wrong is not None:
        raise MessagesError(f"{where} cannot stand before a question: {wrong}")
    return tuple(turns)


def joined(parts: Sequence[Part]) -> str:
    """Returns the text of all parts."""
    return "".join(part.text for part in parts)


def why_not_earlier(turns: Sequence[Turn]) -> str | None:
    """Says in half a sentence why turns cannot stand before a question; None where they can: perhaps one of the system,
    then the user's and the assistant's by turns, of which the assistant has the last."""
    before = int(bool(turns) and turns[0].role == SYSTEM)
    for place, turn in enumerate(turns[before:]):
        wanted = (USER, ASSISTANT)[place % 2]
        if turn.role != wanted:
            return f"turn {before + place + 1} is the {turn.role}'s where the {wanted}'s is expected"
    if (len(turns) - before) % 2:
        return "the last turn is the user's, which is the question itself"
    return None
