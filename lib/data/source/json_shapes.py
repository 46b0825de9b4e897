"""Finds the records in one JSON object that has them all, as `DataFrame.to_json` and many programs write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.errors import MessagesError

ONE_RECORD = "one record"
CONVERSATIONS = {"messages", "conversations", "conversation", "turns", "dialog", "dialogue"}  # one record's own lists


def unfolded(whole: Mapping[str, Any], name: str) -> tuple[str, list[Any]]:
    """Returns what the shape is called, and the records: those of a list in a field (`{"data": [{…}, …]}`); of pandas'
    orients columns, index, split and table; of lists for each column; or the object itself.

    Raises MessagesError if several fields have a list of records, or columns are of different lengths.
    """
    if isinstance(whole.get("columns"), list) and isinstance(whole.get("data"), list):
        return "rows beside the names of their columns", _from_rows(whole["columns"], whole["data"], name)
    wrapped = [key for key, value in whole.items() if _are_records(value) and key not in CONVERSATIONS]
    if len(wrapped) > 1:
        raise MessagesError(
            f"{name} has lists of records in {', '.join(map(repr, wrapped))}: write the one that is wanted into a file"
            " of its own"
        )
    if wrapped:
        return f"a list in {wrapped[0]!r}", list(whole[wrapped[0]])
    columns = list(whole.values())
    if columns and all(isinstance(column, Mapping) for column in columns) and (_same_keys(columns) or _by_id(whole)):
        if _are_columns(whole):
            return "columns, by number", [dict(zip(whole, row, strict=True)) for row in _turned(columns)]
        return "records, by number", columns
    if len(columns) > 1 and all(isinstance(column, list) for column in columns):
        if len(set(map(len, columns))) > 1:
            lengths = ", ".join(f"{key!r} {len(column)}" for key, column in whole.items())
            raise MessagesError(f"{name} has lists of different lengths ({lengths}): they are no columns of one table")
        return "columns", [dict(zip(whole, row, strict=True)) for row in zip(*columns, strict=True)]
    return ONE_RECORD, [whole]


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(record, Mapping) for record in value)


def _from_rows(columns: Sequence[Any], rows: Sequence[Any], name: str) -> list[Any]:
    names = list(map(str, columns))
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise MessagesError(f"{name}: entry {number} of 'data' does not have the {len(names)} values of 'columns'")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _same_keys(columns: Sequence[Mapping[str, Any]]) -> bool:
    return bool(columns[0]) and all(column.keys() == columns[0].keys() for column in columns)


def _by_id(whole: Mapping[str, Any]) -> bool:
    """Whether fields are numbers of records, which may lack fields."""
    return all(key.isdecimal() for key in whole) and not any(
        key.isdecimal() for record in whole.values() for key in record
    )


def _are_columns(whole: Mapping[str, Any]) -> bool:
    """Whether fields are columns, and what is inside of them rows; not the other way around."""
    inner = next(iter(whole.values()))
    outer_numbers, inner_numbers = (all(key.isdecimal() for key in keys) for keys in (whole, inner))
    return inner_numbers if inner_numbers != outer_numbers else len(inner) >= len(whole)


def _turned(columns: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(column[row] for column in columns) for row in columns[0]]
