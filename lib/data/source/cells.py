"""What stands in a cell, and how it becomes a text: as it is written, with nothing guessed."""

from __future__ import annotations

from typing import Any

from lib.errors import MessagesError
from lib.text.characters import require_whole_characters


class Number(str):
    """A number, as it is written: a label may be one, a text to be scored may not."""

    __slots__ = ()


def as_text(cell: Any, where: str, column: object) -> str | None:
    """Returns text, numbers and booleans as text, and null and NaN as None; `where` names the row.

    Raises MessagesError for anything else, and for half a surrogate pair, which JSON allows ("\\ud83d").
    """
    if type(cell) is str or isinstance(cell, Number):
        if not cell.isascii():
            require_whole_characters(cell, f"{where}: column {column!r}", mend="correct it or remove the row")
        return str(cell)
    if cell is None or cell != cell:  # NaN is what differs from itself
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return str(cell)
    raise MessagesError(
        f"{where}: column {column!r} holds {_a(cell)}: texts and labels must be text, numbers or booleans, and one"
        " label a text is what is learned here"
    )


def _a(cell: Any) -> str:
    kind = type(cell).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
