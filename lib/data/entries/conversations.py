"""Turns the messages of one conversation into an entry: the last answer with its question, and what was said before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lib.data.entries.values import EmptyError, kind, text_of
from lib.errors import MessagesError
from lib.text.turns import ASSISTANT, SYSTEM, USER, Turn

# What data sets call those who speak, in small letters.
ROLES = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter"), USER),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard"), ASSISTANT),
}
# The names of a message's fields: who speaks, and the words.
OPENAI, SHAREGPT = ("role", "content"), ("from", "value")
BETWEEN = "\n\n"  # messages of one side that follow each other


class Conversation(NamedTuple):
    """A conversation whose last turn is the assistant's.

    joined: messages that were put together with the one before, by the same side. left_out: those before the first
    question and after the last answer.
    """

    earlier: tuple[Turn, ...]
    question: str
    answer: str
    joined: int
    left_out: int


def message_fields(messages: Any) -> tuple[str, str] | None:
    """Returns which names the fields of these messages have; None if they are no messages."""
    first = messages[0] if isinstance(messages, list) and messages else None
    if isinstance(first, Mapping):
        return next((names for names in (OPENAI, SHAREGPT) if set(names) <= first.keys()), None)
    return None


def as_list(messages: Any) -> Any:
    """Returns messages from the JSON text that a cell of a table holds; anything else as it is."""
    if not isinstance(messages, str):
        return messages
    try:
        return json.loads(messages)
    except (ValueError, RecursionError):
        return messages


def conversation(where: str, messages: Any, names: tuple[str, str], system: str = "") -> Conversation:
    """Makes one conversation of a list of messages.

    Messages of one side that follow each other become one, with an empty line between them. An answer that stands
    before any question, and a question without an answer at the end, are left out.

    names: of a message's fields. system: words of a system that stand beside the messages.

    Raises EmptyError if nothing is answered or a message has no text; MessagesError if something is no message, is said
    by somebody else (a tool, say), or by the system after others have spoken.
    """
    messages = as_list(messages)
    if not isinstance(messages, list):
        raise MessagesError(f"{where}: the messages are {kind(messages)}: put a list of objects there")
    said = [_turn(f"{where}, message {number}", message, names) for number, message in enumerate(messages, start=1)]
    if system.strip() and not (said and said[0].role == SYSTEM):
        said.insert(0, Turn(SYSTEM, system))
    turns, joined = _joined(said)
    first = turns.pop(0) if turns and turns[0].role == SYSTEM else None
    for turn in turns:
        if turn.role == SYSTEM:
            raise MessagesError(
                f"{where}: the system speaks after others have spoken, which no model here learns: put its words first"
            )
    whole = len(turns)
    if turns and turns[0].role == ASSISTANT:
        del turns[0]
    if turns and turns[-1].role == USER:
        del turns[-1]
    if not turns:
        raise EmptyError("no answer")
    *before, question, answer = turns
    before_all = () if first is None else (first,)
    return Conversation((*before_all, *before), question.content, answer.content, joined, whole - len(turns))


def _turn(where: str, message: Any, names: tuple[str, str]) -> Turn:
    if not isinstance(message, Mapping):
        raise MessagesError(
            f'{where} is {kind(message)}: every message must look like {{"role": "user", "content": …}}'
        )
    missing = [name for name in names if name not in message]
    if missing:
        raise MessagesError(f"{where} has no {missing[0]!r}: every message must have {names[0]!r} and {names[1]!r}")
    said_by, content = message[names[0]], message[names[1]]
    role = ROLES.get(said_by.strip().casefold()) if isinstance(said_by, str) else None
    if role is None:
        raise MessagesError(
            f"{where} is by {said_by!r}: only messages of the system, the user and the assistant can be learnt from, so"
            " remove the entry"
        )
    words = text_of(where, names[1], _pieces(where, content))
    if not words.strip():
        raise EmptyError("empty message")
    return Turn(role, words)


def _pieces(where: str, content: Any) -> Any:
    """Returns the text of a list of text pieces, as OpenAI's messages may have them; anything else as it is."""
    if not isinstance(content, list) or not all(isinstance(piece, Mapping) and "type" in piece for piece in content):
        return content
    for piece in content:
        if piece["type"] != "text":
            raise MessagesError(f"{where} has a piece of type {piece['type']!r}: only text can be learnt from")
    return "\n".join(text_of(where, "text", piece.get("text")) for piece in content)


def _joined(turns: Sequence[Turn]) -> tuple[list[Turn], int]:
    """Puts turns of one side that follow each other together; returns also how many were put to others."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            joined[-1] = Turn(turn.role, f"{joined[-1].content}{BETWEEN}{turn.content}")
        else:
            joined.append(turn)
    return joined, len(turns) - len(joined)
