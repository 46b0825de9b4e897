"""Rows with a text to score, or with the reason why there is none, for every file format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib.data.source.formats import Column
from lib.errors import MessagesError
from lib.text.tokenizer import LONGEST_TEXT

# The values of the column `reason`: why a row cannot be scored.
EMPTY, NULL, NOT_TEXT, NOT_UTF8, TOO_LONG = "empty", "null", "not text", "not UTF-8", "too long"
NOT_JSON, NO_FIELD, WRONG_FIELDS = "not a JSON object", "no such field", "wrong number of fields"

NO_CHARACTER = re.compile("[\ud800-\udfff]")  # what Python puts in place of bytes that are not UTF-8, and half pairs


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `text`, or the `reason` why there is none; `line` if the format has lines, `id` if asked for."""

    number: int
    line: int | None = None
    id: str | None = None
    text: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Columns:
    """Where texts and ids are: column names, or positions (from 0) in TSV and CSV without a header row.

    quoted: whether double quotes in TSV and CSV may enclose a field.
    """

    text: Column = "text"
    id: Column | None = None
    quoted: bool = True


def scorable(number: int, line: int | None, given: str | None, text: str) -> Row:
    """Makes the row of a text, or of the reason why it cannot be scored."""
    reason = None
    if not text.strip():
        reason = EMPTY
    elif len(text) > LONGEST_TEXT:
        reason = TOO_LONG
    else:
        try:
            text.encode()
        except UnicodeEncodeError:  # bytes that are not UTF-8, or in JSON half of a pair, "\\ud83d"
            reason = NOT_UTF8
    return Row(number, line, given, None if reason else text, reason)


def as_utf8(value: str) -> str:
    """Returns an id or a name as text, with � for what is not UTF-8."""
    return NO_CHARACTER.sub("�", value)


def column_names(name: str, columns: Columns) -> dict[str, str]:
    """Maps flags to column names, for formats with named columns; MessagesError if one is given by position."""
    names = {}
    for flag, column in {"--text_column": columns.text, "--id_column": columns.id}.items():
        if isinstance(column, int):
            raise MessagesError(f"{name}: the columns of this format have names, so {flag} cannot be {column}")
        if column is not None:
            names[flag] = column
    return names
