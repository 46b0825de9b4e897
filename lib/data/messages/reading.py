"""Reads labelled messages from a source file into a table, and profiles them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lib.data.duplicates import normalise
from lib.data.source import formats
from lib.data.source.endings import FORMATS, Format
from lib.errors import MessagesError

SEPARATORS = {"tsv": "\t", "csv": ","}
DROPPED = "empty_texts_dropped"


def read_messages(
    file: Path,
    *,
    name: str | None = None,
    format: Format | None,
    text_column: str | int,
    label_column: str | int,
    quoting: Literal["none", "csv"],
    empty_text: Literal["error", "drop"],
) -> pd.DataFrame:
    """Reads the messages of a file: columns id int64, text str, label str, in the order of the file.

    `id` is the row's number in the file, from 0 over the rows with data, dropped rows included. Labels and texts are
    kept as written: "NA", "007" and "1e5" are text, and spaces at the ends stay. Numbers and booleans of JSONL and
    Parquet become text: `1` as written, `true`, `false`.

    Args:
        name: what errors call the file (None: its own name).
        format: None goes by the ending of the file's own name (see `lib.data.source.endings`).
        text_column: a name in the header row, the JSON objects or the Parquet columns, or a position (from 0) in TSV
            and CSV without a header row. `label_column` likewise.
        quoting: for TSV and CSV. "csv": double quotes may enclose a field with separators and line ends. "none": a
            double quote is an ordinary character.
        empty_text: whether an empty, blank or null text is an error or drops its row; the table's
            `attrs["empty_texts_dropped"]` counts those.

    Raises MessagesError if the file is not UTF-8, damaged or empty, lacks a column, or has a row with the wrong number
    of fields, an empty text or an empty label.
    """
    name = name or file.name
    kind = format or _format_of(file, name)
    if kind == "parquet":
        texts, labels = formats.read_parquet(file, name, text_column=text_column, label_column=label_column)
        return _checked(file, name, texts, labels, empty_text=empty_text)
    formats.check_utf8(file, name)
    if kind == "jsonl":
        texts, labels = formats.read_jsonl(file, name, text_column=text_column, label_column=label_column)
    else:
        texts, labels = formats.read_delimited(
            file,
            name,
            separator=SEPARATORS[kind],
            text_column=text_column,
            label_column=label_column,
            quoted=quoting == "csv",
        )
    return _checked(file, name, texts, labels, empty_text=empty_text)


def profile_messages(messages: pd.DataFrame) -> dict[str, Any]:
    """Describes a table of messages, JSON-able.

    rows: messages in the table.
    labels: rows of each label, the most frequent first.
    characters: min, median, p95 and max of a text; total of all.
    duplicate_texts: rows beyond the first of each text.
    near_duplicate_texts: the same, ignoring case, digits, punctuation and space.
    empty_texts_dropped: rows that `read_messages` dropped.
    """
    texts = messages["text"].tolist()
    labels = Counter(messages["label"])
    return {
        "rows": len(messages),
        "labels": {label: labels[label] for label in sorted(labels, key=lambda label: (-labels[label], label))},
        "characters": spread([len(text) for text in texts]),
        "duplicate_texts": len(texts) - len(set(texts)),
        "near_duplicate_texts": len(texts) - len(set(map(normalise, texts))),
        DROPPED: int(messages.attrs.get(DROPPED, 0)),
    }


def spread(lengths: Sequence[int]) -> dict[str, int | float]:
    """Returns minimum, median, 95th percentile, maximum and sum of at least one length."""
    return {
        "min": min(lengths),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "max": max(lengths),
        "total": sum(lengths),
    }


def _format_of(file: Path, name: str) -> Format:
    ending = file.suffix.lower()
    if ending not in FORMATS:
        raise MessagesError(
            f"the ending of the name {name!r} does not say how the file is written:"
            " add --data.format with tsv, csv, jsonl or parquet"
        )
    return FORMATS[ending]


def _checked(
    file: Path, name: str, texts: list[str], labels: list[str], *, empty_text: Literal["error", "drop"]
) -> pd.DataFrame:
    """Returns the table of messages, each with a text and a label."""
    if not texts:
        what = "has no messages, only a header row or blank lines" if file.stat().st_size else "is empty"
        raise MessagesError(f"{name} {what}: is it the right file?")
    blank = [row for row, text in enumerate(texts) if not text.strip()]
    if blank and empty_text == "error":
        raise MessagesError(
            f"{name}: {counted(blank, 'row', 'rows', start=0)} an empty text: fill in, remove, or leave out with"
            " --data.empty_text drop"
        )
    if len(blank) == len(texts):
        raise MessagesError(f"{name}: every text is empty: is --data.text_column the right one?")
    messages = pd.DataFrame({"id": np.arange(len(texts), dtype=np.int64), "text": texts, "label": labels})
    messages = messages.drop(blank).reset_index(drop=True)
    unlabelled = [row for row, label in zip(messages["id"], messages["label"], strict=True) if not label.strip()]
    if unlabelled:
        raise MessagesError(f"{name}: {counted(unlabelled, 'row', 'rows', start=0)} an empty label: fill in or remove")
    messages.attrs[DROPPED] = len(blank)
    return messages


def counted(numbers: Sequence[int], one: str, many: str, *, start: int) -> str:
    """Begins an error: "row 3 (counted from 0) has", "2 rows (3, 4; counted from 0) have"."""
    if len(numbers) == 1:
        return f"{one} {numbers[0]} (counted from {start}) has"
    first = ", ".join(map(str, numbers[:3])) + (", …" if len(numbers) > 3 else "")
    return f"{len(numbers)} {many} ({first}; counted from {start}) have"
