"""Reads entries of instructions from a JSON file into a table, and profiles them. An entry has an instruction, an input
that may be empty, and an output; the first two are its question."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lib.data.duplicates import normalise
from lib.data.messages.reading import counted, spread
from lib.data.source.cells import whole_characters
from lib.data.source.data_file import DataFile
from lib.data.source.encoding import undecodable
from lib.errors import MessagesError

FIELDS = ("instruction", "input", "output")
NEEDED = ("instruction", "output")
DROPPED = "empty_texts_dropped"
MOST_NAMES = 5  # listed in an error
LONGEST_NAME = 40  # characters of a name in an error
LOOKS = '{"instruction": "…", "input": "…", "output": "…"}'


def read_entries(
    file: Path, *, name: str | None = None, empty_text: Literal["error", "drop"] = "error"
) -> pd.DataFrame:
    """Reads the entries of a file: columns id int64, instruction, input, output str, in the order of the file.

    The file is UTF-8, with or without a byte order mark, and either one JSON list of objects or one JSON object per
    line. A missing or null `input` becomes the empty text; other fields are ignored; texts are kept as written. `id` is
    the entry's position in the file, from 0, dropped entries included. Errors count entries from 1.

    name: what errors call the file (None: its own name).
    empty_text: whether an empty, blank or null instruction or output is an error or drops the entry; the table's
    `attrs["empty_texts_dropped"]` counts those.

    Raises MessagesError if the file is not UTF-8, not JSON, empty or no list of objects, or if an entry lacks a field,
    has something other than text in one, or has an empty one.
    """
    name = name or file.name
    damage = undecodable(DataFile(file, name), "utf-8")
    if damage is not None:
        raise MessagesError(damage)
    text = file.read_text(encoding="utf-8-sig")
    if not text.strip():
        raise MessagesError(f"{name} is empty: is it the right file?")
    rows = [_checked(where, record) for where, record in _records(text, name)]
    if not rows:
        raise MessagesError(f"{name} has no entries: is it the right file?")
    entries = pd.DataFrame(rows, columns=list(FIELDS))
    entries.insert(0, "id", np.arange(len(rows), dtype=np.int64))
    return _without_empty(entries, name, empty_text)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Returns the entries of several files in one table, with the sum of their dropped rows; `id` counts the entries of
    all files, dropped ones included."""
    begins = np.cumsum([0, *(len(table) + table.attrs[DROPPED] for table in tables)])
    whole = pd.concat([table.assign(id=table["id"] + begin) for table, begin in zip(tables, begins, strict=False)])
    whole.attrs = {DROPPED: sum(table.attrs[DROPPED] for table in tables)}
    return whole.reset_index(drop=True)


def questions(entries: pd.DataFrame) -> pd.Series:
    """Returns the keys of near-duplicate entries: instruction and input, normalised. The output does not count: an
    entry that asks the same gives a test entry away, whatever it answers."""
    pairs = zip(entries["instruction"], entries["input"], strict=True)
    return pd.Series([normalise(f"{instruction}\n{input_}") for instruction, input_ in pairs], index=entries.index)


def profile_entries(entries: pd.DataFrame) -> dict[str, Any]:
    """Describes a table of entries, JSON-able.

    rows: entries in the table; with_input: those whose input is not empty.
    characters: min, median, p95, max and total for each of instruction, input and output.
    duplicate_questions: rows beyond the first of each instruction with input.
    near_duplicate_questions: the same, ignoring case, digits, punctuation and space (`questions`).
    duplicate_entries, near_duplicate_entries: the same for instruction, input and output together.
    empty_texts_dropped: entries that `read_entries` dropped.
    """
    texts = {field: entries[field].tolist() for field in FIELDS}
    asked = list(zip(texts["instruction"], texts["input"], strict=True))
    whole = list(zip(*texts.values(), strict=True))
    return {
        "rows": len(entries),
        "with_input": sum(map(bool, texts["input"])),
        "characters": {field: spread([len(text) for text in texts[field]]) for field in FIELDS},
        "duplicate_questions": len(asked) - len(set(asked)),
        "near_duplicate_questions": len(asked) - questions(entries).nunique(),
        "duplicate_entries": len(whole) - len(set(whole)),
        "near_duplicate_entries": len(whole) - len({normalise("\n".join(entry)) for entry in whole}),
        DROPPED: int(entries.attrs.get(DROPPED, 0)),
    }


def _records(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """Yields each entry's JSON value with its place for errors."""
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MessagesError(f"{name} is not JSON ({error}): correct it there") from error
        for number, record in enumerate(listed, start=1):
            yield f"{name}, entry {number} (counted from 1)", record
        return
    number = 0
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        number += 1
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise MessagesError(
                f"{name}, line {line} is not JSON ({error}): the file must be one list of entries, or have one entry"
                " on each line"
            ) from error
        yield f"{name}, entry {number} (line {line})", record


def _checked(where: str, record: Any) -> tuple[str, str, str]:
    """Returns instruction, input and output of an entry; refuses anything else."""
    if not isinstance(record, dict):
        raise MessagesError(f"{where} is {_kind(record)}: every entry must look like {LOOKS}")
    for field in NEEDED:
        if field not in record:
            raise MessagesError(f"{where} has no {field!r}, {_instead(field, list(record))}")
    instruction, input_, output = (_text(where, field, record.get(field)) for field in FIELDS)
    return instruction, input_, output


def _instead(missing: str, names: Sequence[str]) -> str:
    shown = [repr(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…") for name in names[:MOST_NAMES]]
    listed = f"only {', '.join(shown)}{', …' if len(names) > MOST_NAMES else ''}" if names else "nor anything else"
    near = difflib.get_close_matches(missing, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{listed}: every entry must look like {LOOKS}{hint}"


def _text(where: str, field: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MessagesError(f"{where}: {field!r} is {_kind(value)}: put text there, in double quotes")
    return whole_characters(value, f"{where}: {field!r}", whole="entry")


def _kind(value: Any) -> str:
    """Describes a JSON value in words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds = {str: "a text", dict: "an object", list: "a list", int: "a number", float: "a number"}
    return kinds[type(value)]


def _without_empty(entries: pd.DataFrame, name: str, empty_text: Literal["error", "drop"]) -> pd.DataFrame:
    """Drops the entries without instruction or output, or refuses them."""
    blank = {field: entries[field].str.strip() == "" for field in NEEDED}
    for field, rows in blank.items():
        if rows.any() and empty_text == "error":
            have = counted((entries["id"][rows] + 1).tolist(), "entry", "entries", start=1)
            raise MessagesError(
                f"{name}: {have} an empty {field}: fill in, remove, or leave out with --data.empty_text drop"
            )
    kept = entries[~(blank["instruction"] | blank["output"])].reset_index(drop=True)
    if kept.empty:
        raise MessagesError(f"{name}: every entry has an empty instruction or output: is it the right file?")
    kept.attrs[DROPPED] = len(entries) - len(kept)
    return kept
