"""Rows with a text to score, or with the reason why there is none, for every file format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib.data.source.columns import Column
from lib.data.source.rows import NOT_DECODED, Quoting
from lib.text.tokenizer import LONGEST_TEXT

# The values of the column `reason`: why a row cannot be scored.
EMPTY, NULL, NOT_TEXT, TOO_LONG = "empty", "null", "not text", "too long"  # others: `lib.data.source.rows`

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
    """Where texts and ids are: column names, or positions (from 0) in tables without a header row; and how files are
    written, where that is said (see `lib.data.source.reader.How`)."""

    text: Column = "text"
    id: Column | None = None
    quoting: Quoting | None = "csv"
    encoding: str | None = None
    separator: str | None = None
    sheet: str | None = None


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
            reason = NOT_DECODED
    return Row(number, line, given, None if reason else text, reason)


def as_utf8(value: str) -> str:
    """Returns an id or a name as text, with � for what is not UTF-8."""
    return NO_CHARACTER.sub("�", value)
