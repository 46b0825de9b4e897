"""Recognises by its fields how a data set writes its entries, and reads one entry of it.

A pair has a question and its answer in two fields, a conversation a list of messages in one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lib.data.entries.conversations import OPENAI, as_list, conversation, message_fields
from lib.data.entries.values import EmptyError, text_of
from lib.errors import MessagesError
from lib.text.turns import SYSTEM, Turn

MOST_NAMES = 5  # listed in an error
LONGEST_NAME = 40  # characters of a name in an error
SYSTEM_FIELDS = ("system", "system_prompt")  # of which the first that a record has is read
LOOKS = '{"instruction": "…", "input": "…", "output": "…"}'


class Entry(NamedTuple):
    """One entry: an answer to learn, with its question and what was said before.

    joined, left_out: messages of a conversation; see `Conversation`.
    """

    instruction: str
    input: str
    output: str
    earlier: tuple[Turn, ...] = ()
    joined: int = 0
    left_out: int = 0


class Shape(Protocol):
    """How a data set writes its entries: what that is called, and the names of the fields that are read."""

    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> tuple[str, ...]: ...

    def entry(self, where: str, record: Mapping[str, Any]) -> Entry:
        """Returns the entry of a record. Raises EmptyError if it has nothing to learn, MessagesError if a field is
        missing or has something other than text."""
        ...


@dataclass(frozen=True)
class Pairs:
    """A question and its answer, each in a field; the fields `input` and `system` may be missing or empty."""

    name: str
    instruction: str
    output: str
    input: str
    system: tuple[str, ...] = SYSTEM_FIELDS

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.instruction, self.input, self.output, *self.system)

    def entry(self, where: str, record: Mapping[str, Any]) -> Entry:
        for field in (self.instruction, self.output):
            if field not in record:
                raise EmptyError(f"no {field!r}, {only(list(record))}", nearest(field, record))
        asked, given, answer = (
            text_of(where, field, record.get(field)) for field in (self.instruction, self.input, self.output)
        )
        for field, text in ((self.instruction, asked), (self.output, answer)):
            if not text.strip():
                raise EmptyError(f"empty {field}")
        return Entry(asked, given, answer, _system(_first(where, self.system, record)))


@dataclass(frozen=True)
class Conversations:
    """A list of messages in the field `messages`, whose own fields are `names`: who speaks, and the words."""

    name: str
    messages: str
    names: tuple[str, str]
    system: tuple[str, ...] = SYSTEM_FIELDS

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.messages, *self.system)

    def entry(self, where: str, record: Mapping[str, Any]) -> Entry:
        if record.get(self.messages) is None:
            raise EmptyError(f"no {self.messages!r}, {only(list(record))}", nearest(self.messages, record))
        found = conversation(where, record[self.messages], self.names, _first(where, self.system, record))
        return Entry(found.question, "", found.answer, found.earlier, found.joined, found.left_out)


# The first whose fields a record has.
PAIRS = (
    Pairs("Alpaca instructions", "instruction", "output", "input"),
    Pairs("Dolly instructions", "instruction", "response", "context"),
    Pairs("prompts and completions", "prompt", "completion", "input"),
    Pairs("prompts and responses", "prompt", "response", "input"),
    Pairs("questions and answers", "question", "answer", "context"),
    Pairs("questions and responses", "question", "response", "context"),
    Pairs("queries and responses", "query", "response", "input"),
)
CONVERSATIONS = ("messages", "conversations", "conversation")  # what the field of messages is called
SPOKEN = {OPENAI: "OpenAI messages"}  # otherwise ShareGPT's


@dataclass(frozen=True)
class Columns:
    """The names of fields, where they are others than those that are recognised; those of `messages` are `role` and
    `content`."""

    instruction: str | None = None
    input: str | None = None
    output: str | None = None
    system: str | None = None
    messages: str | None = None
    role: str | None = None
    content: str | None = None


def recognised(record: Any, columns: Columns) -> Shape | None:
    """Returns the shape of a record's entry by its fields; None if it is none that is known."""
    if not isinstance(record, Mapping):
        return None
    system = SYSTEM_FIELDS if columns.system is None else (columns.system,)
    if columns.instruction or columns.output or columns.input:
        asked, answer = columns.instruction or "instruction", columns.output or "output"
        shape = Pairs("instructions", asked, answer, columns.input or "input", system)
        return shape if {asked, answer} <= record.keys() else None
    for field in (columns.messages,) if columns.messages else CONVERSATIONS:
        messages = as_list(record.get(field))
        own = message_fields(messages)
        if columns.role or columns.content:
            own = columns.role or OPENAI[0], columns.content or OPENAI[1]
        if own is not None and isinstance(messages, list):
            return Conversations(SPOKEN.get(own, "ShareGPT conversations"), field, own, system)
    if columns.messages:
        return None
    for pairs in PAIRS:
        if {pairs.instruction, pairs.output} <= record.keys():
            return Pairs(pairs.name, pairs.instruction, pairs.output, pairs.input, system)
    return None


def not_recognised(where: str, record: Mapping[str, Any], columns: Columns) -> MessagesError:
    """Returns the error for an entry whose fields are none that are known."""
    names = list(record)
    wanted = (
        [columns.messages] if columns.messages else [columns.instruction or "instruction", columns.output or "output"]
    )
    missing = next((name for name in wanted if name not in record), wanted[0])
    return MessagesError(
        f"{where} has no {missing!r}, {only(names)}: every entry must look like {LOOKS}, or say with --data.columns"
        f" which fields those are{_meant(names) or nearest(missing, record)}"
    )


def only(names: Sequence[str]) -> str:
    """Lists the fields that there are."""
    if not names:
        return "nor anything else"
    shown = [repr(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…") for name in names[:MOST_NAMES]]
    return f"only {', '.join(shown)}{', …' if len(names) > MOST_NAMES else ''}"


def nearest(missing: str, record: Mapping[str, Any]) -> str:
    """Asks whether a field of a similar name was meant."""
    near = difflib.get_close_matches(missing, list(record), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _meant(names: Sequence[str]) -> str:
    """Asks whether fields were meant that differ from those of a known shape in capitals or spaces only."""
    plain = {name.strip().casefold(): name for name in names}
    for pairs in PAIRS:
        if {pairs.instruction, pairs.output} <= plain.keys():
            fields = {"instruction": pairs.instruction, "input": pairs.input, "output": pairs.output}
            written = {field: plain[name] for field, name in fields.items() if name in plain}
            return f"; did you mean --data.columns {json.dumps(written, ensure_ascii=False)!r}?"
    for field in CONVERSATIONS:
        if field in plain:
            return f"; did you mean --data.columns {json.dumps({'messages': plain[field]}, ensure_ascii=False)!r}?"
    return ""


def _first(where: str, fields: Sequence[str], record: Mapping[str, Any]) -> str:
    return next((text_of(where, field, record[field]) for field in fields if record.get(field) is not None), "")


def _system(words: str) -> tuple[Turn, ...]:
    return (Turn(SYSTEM, words),) if words.strip() else ()
