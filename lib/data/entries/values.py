"""Checks the values of an entry's fields."""

from __future__ import annotations

from typing import Any

from lib.data.source.cells import Number
from lib.errors import MessagesError
from lib.text.characters import require_whole_characters


class EmptyError(Exception):
    """An entry has nothing to learn.

    reason: what it has, such as "empty output" or "no answer". hint: the end of a sentence that may help.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


def text_of(where: str, field: str, value: Any) -> str:
    """Returns a field's text; null is empty. Raises MessagesError for anything else, and for half a character."""
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Number):
        raise MessagesError(f"{where}: {field!r} is {kind(value)}: put text there, in double quotes")
    require_whole_characters(value, f"{where}: {field!r}", mend="correct it or remove the entry")
    return value


def kind(value: Any) -> str:
    """Describes a JSON value in words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds = {str: "a text", Number: "a number", dict: "an object", list: "a list", int: "a number", float: "a number"}
    return kinds.get(type(value), f"a {type(value).__name__}")
