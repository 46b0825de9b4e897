"""Names and positions of columns: finds the ones that are asked for, and values inside nested ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from lib.errors import MessagesError

Column = str | int  # a name, or in TSV, CSV and workbooks without a header row a position, from 0

LONGEST_NAME_SHOWN = 40  # characters; the supposed name may be a whole message
MOST_NAMES_SHOWN = 20


class _Absent:
    """What a record holds in place of a value that it has not."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def column_position(name: str, flag: str, column: Column, first: Sequence[str]) -> int:
    """Returns the column's position, given the first record: a header, or an ordinary row. `flag` is the option that
    sets the column. Raises MessagesError if there is no such column, or more than one."""
    if isinstance(column, str):
        hint = ", or to a position (0, 1, …) if the file has no header row"
        require_column(name, flag, column, first, hint=hint)
        return first.index(column)
    if not 0 <= column < len(first):
        raise MessagesError(
            f"{name} has {len(first)} column{'s' * (len(first) != 1)}, so {flag} cannot be"
            f" {column}: positions are counted from 0"
        )
    return column


def require_column(where: str, flag: str, column: str, names: Sequence[str], *, hint: str = "") -> None:
    """Raises MessagesError, naming the nearest, unless exactly one column has this name; `flag` is its option."""
    if names.count(column) == 1:
        return
    if column in names:
        raise MessagesError(f"{where} has more than one column {column!r}: rename all but one")
    raise MessagesError(no_column(where, flag, column, names, hint=hint))


def no_column(where: str, flag: str, column: str, names: Sequence[str], *, hint: str = "") -> str:
    """Says that there is no such column, and which there are."""
    shown = [_shortened(name) for name in names[:MOST_NAMES_SHOWN]]
    more = ", …" if len(names) > MOST_NAMES_SHOWN else ""
    nearest = difflib.get_close_matches(column, names, n=1) or [
        name for name in names if name.strip().casefold() == column.strip().casefold()
    ]
    return (
        f"{where} has no column {column!r}, only {', '.join(map(repr, shown)) or 'none at all'}{more}:"
        f" set {flag} to one of these{hint}{f'; did you mean {nearest[0]!r}?' if nearest else ''}"
    )


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME_SHOWN else name[: LONGEST_NAME_SHOWN - 1] + "…"


def named_columns(name: str, columns: Mapping[str, Column]) -> dict[str, str]:
    """Returns `columns` (option to column) for a format whose columns always have names; MessagesError for a position
    among them."""
    for flag, column in columns.items():
        if isinstance(column, int):
            raise MessagesError(f"{name}: the columns of this format have names, so {flag} cannot be {column}")
    return {flag: str(column) for flag, column in columns.items()}


def value_at(record: Mapping[str, Any], column: str) -> Any:
    """Returns the value of a field, or of one inside it, `message.body` or `turns.0.text`; ABSENT if there is none. A
    field whose own name has dots comes first."""
    if column in record:
        return record[column]
    value: Any = record
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return value


def field_names(record: Mapping[str, Any]) -> list[str]:
    """Returns the names by which `value_at` finds a record's values: its fields, and those of objects inside it."""
    names: list[str] = []
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            names += [f"{name}.{inner}" for inner in field_names(value)]
        else:
            names.append(name)
    return names
