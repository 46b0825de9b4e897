"""Reads entries of instructions from a file into a table, and profiles them. An entry has an instruction, an input that
may be empty, and an output; in a conversation, turns that were said earlier. What is asked is its question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lib.data.duplicates import normalise
from lib.data.entries.files import earlier_turns
from lib.data.entries.records import Record, read_file
from lib.data.entries.shapes import LOOKS, Columns, Entry, Shape, not_recognised, recognised
from lib.data.entries.values import EmptyError
from lib.data.messages.profile import spread
from lib.data.messages.reading import counted
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.errors import MessagesError
from lib.text.turns import SYSTEM, USER

FIELDS = ("instruction", "input", "output")
LOOKED_AT = 100  # records, of which the first with known fields says what the file has


@dataclass(frozen=True)
class Entries:
    """The entries of a file.

    table: id int64, instruction, input, output str, in the order of the file, and where any entry is a conversation of
    more than a question and its answer, `earlier`: the turns before the question. `id` is the entry's position in the
    file, from 0, entries that were left out included.
    left_out: file str, row int64 (its id), line int64 or null, reason str of each entry that was left out.
    found: JSON-able; `shape`, what the entries are called; `fields` that were read and `unused_fields`; of
    conversations `messages_joined` and `messages_left_out` (see `Conversation`); `read_as`, what the file is.
    warnings: sentences about the file.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame
    found: dict[str, Any]
    warnings: list[str]


def read_entries(
    file: Path,
    *,
    name: str | None = None,
    how: How = How(),  # noqa: B008 - it cannot change
    columns: Columns = Columns(),  # noqa: B008
    empty_text: Literal["error", "drop"] = "error",
    bad_rows: Literal["error", "drop"] = "error",
) -> Entries:
    """Reads the entries of a file that `open_source` can read, as pairs of a question and its answer or as
    conversations, which are recognised by the names of their fields (see `lib.data.entries.shapes`).

    Texts are kept as written, and other fields ignored. Errors count entries from 1.

    name: what errors call the file (None: its own name).
    how: how the file is written, as far as somebody says it.
    columns: names of fields that are not recognised.
    empty_text: whether an entry with nothing to learn, because a text is empty, blank, null or missing, is an error or
    left out.
    bad_rows: the same for one that cannot be read.

    Raises MessagesError if the file cannot be read or is empty, or if an entry has no known fields, or something other
    than text in one.
    """
    name = name or file.name
    given = read_file(DataFile(file, name), replace(how, looks=LOOKS))
    if not given.records:
        raise MessagesError(f"{name} has no entries: is it the right file?")
    unreadable = [(record, record.unreadable[0]) for record in given.records if record.unreadable]
    if unreadable and bad_rows == "error" and unreadable[0][0].unreadable:
        raise MessagesError(unreadable[0][0].unreadable[1])
    records = [record for record in given.records if record.value is not None]
    shape = _shape(records, name, columns)
    entries: list[tuple[int, Entry]] = []
    empty: list[tuple[Record, EmptyError]] = []
    for record in records:
        try:
            entries.append((record.row, shape.entry(f"{name}, {record.where}", record.value or {})))
        except EmptyError as error:
            empty.append((record, error))
    if empty and empty_text == "error":
        raise _nothing_to_learn(name, empty)
    if not entries:
        raise MessagesError(f"{name}: every entry has {_reason(empty[0][1].reason)}: is it the right file?")
    left_out = _left_out(name, [*unreadable, *((record, error.reason) for record, error in empty)])
    found = _found(records, shape, [entry for _, entry in entries]) | {"read_as": given.read_as}
    return Entries(_table(entries), left_out, found, given.warnings)


def joined(files: Sequence[Entries]) -> Entries:
    """Returns the entries of several files in one table; `id` counts the entries of all files, those that were left out
    included. What was found of them is said together, and `read_as` of each file."""
    if len(files) == 1:
        return files[0]
    begins = np.cumsum([0, *(len(each.table) + len(each.left_out) for each in files)])
    tables = [each.table.assign(id=each.table["id"] + begin) for each, begin in zip(files, begins, strict=False)]
    table = pd.concat(tables, ignore_index=True)
    if "earlier" in table:
        table["earlier"] = pd.Series([turns for each in tables for turns in earlier_turns(each)], dtype="object")
    names = ("fields", "unused_fields")
    found = {
        "shape": " and ".join(dict.fromkeys(each.found["shape"] for each in files)),
        **{name: list(dict.fromkeys(field for each in files for field in each.found[name])) for name in names},
        **{name: sum(each.found[name] for each in files) for name in ("messages_joined", "messages_left_out")},
        "read_as": [each.found["read_as"] for each in files],
    }
    left_out = pd.concat([each.left_out for each in files], ignore_index=True)
    return Entries(table, left_out, found, [warning for each in files for warning in each.warnings])


def _shape(records: Sequence[Record], name: str, columns: Columns) -> Shape:
    """Returns the shape of the first entry that has one; raises MessagesError for the first one if there is none."""
    for record in records[:LOOKED_AT]:
        shape = recognised(record.value, columns)
        if shape is not None:
            return shape
    if not records:
        raise MessagesError(f"{name} has no entry that can be read: is it the right file?")
    raise not_recognised(f"{name}, {records[0].where}", records[0].value or {}, columns)


def _left_out(name: str, reasons: Sequence[tuple[Record, str]]) -> pd.DataFrame:
    reasons = sorted(reasons, key=lambda each: each[0].row)
    return pd.DataFrame(
        {
            "file": pd.Series([name] * len(reasons), dtype=str),
            "row": pd.Series([record.row for record, _ in reasons], dtype="int64"),
            "line": pd.Series([record.line for record, _ in reasons], dtype="Int64"),
            "reason": pd.Series([reason for _, reason in reasons], dtype=str),
        }
    )


def _nothing_to_learn(name: str, empty: Sequence[tuple[Record, EmptyError]]) -> MessagesError:
    """Returns the error for the entries that have nothing to learn for the first one's reason."""
    first = empty[0][1]
    alike = [record.row + 1 for record, error in empty if error.reason == first.reason]
    have = counted(len(alike), alike, "entry", "entries", start=1)
    return MessagesError(
        f"{name}: {have} {_reason(first.reason)}: fill in, remove, or leave out with --data.empty_text drop{first.hint}"
    )


def _reason(reason: str) -> str:
    return f"an {reason}" if reason.startswith("empty") else reason


def _table(entries: Sequence[tuple[int, Entry]]) -> pd.DataFrame:
    table = pd.DataFrame([entry[:3] for _, entry in entries], columns=list(FIELDS))
    table.insert(0, "id", np.array([row for row, _ in entries], dtype=np.int64))
    if any(entry.earlier for _, entry in entries):
        table["earlier"] = pd.Series([entry.earlier for _, entry in entries], dtype="object")
    return table


def _found(records: Sequence[Record], shape: Shape, entries: Sequence[Entry]) -> dict[str, Any]:
    names = dict.fromkeys(str(name) for record in records for name in record.value or ())
    return {
        "shape": shape.name,
        "fields": [name for name in names if name in shape.fields],
        "unused_fields": [name for name in names if name not in shape.fields],
        "messages_joined": sum(entry.joined for entry in entries),
        "messages_left_out": sum(entry.left_out for entry in entries),
    }


def first_questions(entries: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns what each entry asks first: its instruction and input, or what the user said first."""
    asked = []
    for instruction, input_, earlier in zip(
        entries["instruction"], entries["input"], earlier_turns(entries), strict=True
    ):
        said = [turn.content for turn in earlier if turn.role == USER]
        asked.append((said[0], "") if said else (instruction, input_))
    return asked


def questions(entries: pd.DataFrame) -> pd.Series:
    """Returns the keys of near-duplicate entries: what each asks first, normalised. The output does not count: an entry
    that asks the same gives a test entry away, whatever it answers."""
    keys = [normalise(f"{instruction}\n{input_}") for instruction, input_ in first_questions(entries)]
    return pd.Series(keys, index=entries.index)


def profile_entries(read: Entries) -> dict[str, Any]:
    """Describes the entries of a file, JSON-able: what was `found`, and

    rows: entries in the table; with_input: those whose input is not empty.
    several_turns: those with an earlier answer; with_system: those that begin with words of a system.
    characters: min, median, p95, max and total for each of instruction, input and output.
    duplicate_questions: rows beyond the first of each instruction with input, of conversations the first.
    near_duplicate_questions: the same, ignoring case, digits, punctuation and space (`questions`).
    duplicate_entries, near_duplicate_entries: the same for all texts of an entry together.
    left_out: how many entries are not in the table, by reason.
    """
    entries = read.table
    texts = {field: entries[field].tolist() for field in FIELDS}
    earlier = [tuple(turn.content for turn in turns) for turns in earlier_turns(entries)]
    roles = Counter(turns[0].role for turns in earlier_turns(entries) if turns)
    asked = first_questions(entries)
    whole = [(*before, *entry) for before, entry in zip(earlier, zip(*texts.values(), strict=True), strict=True)]
    several = sum(len(turns) > 1 for turns in earlier)
    return {
        **read.found,
        "rows": len(entries),
        "with_input": sum(map(bool, texts["input"])),
        "several_turns": several,
        "with_system": roles[SYSTEM],
        "characters": {field: spread(Counter(map(len, texts[field]))) for field in FIELDS},
        "duplicate_questions": len(asked) - len(set(asked)),
        "near_duplicate_questions": len(asked) - questions(entries).nunique(),
        "duplicate_entries": len(whole) - len(set(whole)),
        "near_duplicate_entries": len(whole) - len({normalise("\n".join(entry)) for entry in whole}),
        "left_out": read.left_out["reason"].value_counts(sort=False).to_dict(),
    }


def entries_in_words(profile: Mapping[str, Any]) -> str:
    """Says how many entries a file has, what they are called, and how many are of several turns."""
    more = {"with an input": "with_input", "of several turns": "several_turns", "with a system's words": "with_system"}
    parts = [f"{profile[field]:,} {what}" for what, field in more.items() if profile[field]]
    return f"{profile['rows']:,} ({', '.join([profile['shape'], *parts])})"
