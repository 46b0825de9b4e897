"""Reads labelled messages from a source file into a table, and profiles them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from lib.data.duplicates import normalise
from lib.data.source import formats
from lib.data.source.endings import FORMATS, Format
from lib.errors import LabelError, MessagesError

if TYPE_CHECKING:
    import tiktoken

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

    `id` is the row's number in the file, counted from 0 over the rows with data, dropped ones included. Labels and
    texts
    stay exactly as written: "NA", "007" and "1e5" are text, spaces at the ends stay. Numbers and booleans of JSONL and
    Parquet become text: `1` as it is written, `true`, `false`.

    Args:
        name: what errors call the file; None: its own name.
        format: None goes by the ending of the file's name.
        text_column, label_column: names in the header row, keys of each JSON object or Parquet columns; positions (from
            0) are for TSV and CSV without a header row.
        quoting: of TSV and CSV. "csv": double quotes may enclose a field, which then may hold separators and line ends.
            "none": a double quote is a character like any other.
        empty_text: "error", or "drop" a row whose text is empty, white space or null; the table's
            `attrs["empty_texts_dropped"]` counts them.

    Raises:
        MessagesError: the file is not UTF-8, damaged or empty, lacks a column, or has a row with the wrong number of
            fields, an empty text or an empty label.
        LabelError: all messages have the same label.
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


def profile_messages(messages: pd.DataFrame, *, encoding: tiktoken.Encoding) -> dict[str, Any]:
    """What a table of messages is like, JSON-able.

    rows: messages in the table.
    labels: rows of each label, the most frequent first.
    tokens, characters: min, median, p95 and max of a text; total of all.
    duplicate_texts: rows beyond the first of each text.
    near_duplicate_texts: the same for texts that differ only in case, digits, punctuation or space.
    empty_texts_dropped: rows that `read_messages` left out.
    """
    texts = messages["text"].tolist()
    labels = Counter(messages["label"])
    return {
        "rows": len(messages),
        "labels": {label: labels[label] for label in sorted(labels, key=lambda label: (-labels[label], label))},
        "tokens": spread([len(encoding.encode_ordinary(text)) for text in texts]),
        "characters": spread([len(text) for text in texts]),
        "duplicate_texts": len(texts) - len(set(texts)),
        "near_duplicate_texts": len(texts) - len(set(map(normalise, texts))),
        DROPPED: int(messages.attrs.get(DROPPED, 0)),
    }


def spread(lengths: Sequence[int]) -> dict[str, int | float]:
    """Of at least one length: the least, the middle, the 95th percentile, the greatest, and all together."""
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
    """The table of messages, if there are any, all have a text and a label, and the labels differ."""
    if not texts:
        what = "has no messages, only a header row or blank lines" if file.stat().st_size else "is empty"
        raise MessagesError(f"{name} {what}: is it the right file?")
    blank = [row for row, text in enumerate(texts) if not text.strip()]
    if blank and empty_text == "error":
        raise MessagesError(
            f"{name}: {_rows_have(blank)} an empty text: fill in, remove, or leave out with --data.empty_text drop"
        )
    if len(blank) == len(texts):
        raise MessagesError(f"{name}: every text is empty: is --data.text_column the right one?")
    messages = pd.DataFrame({"id": np.arange(len(texts), dtype=np.int64), "text": texts, "label": labels})
    messages = messages.drop(blank).reset_index(drop=True)
    unlabelled = [row for row, label in zip(messages["id"], messages["label"], strict=True) if not label.strip()]
    if unlabelled:
        raise MessagesError(f"{name}: {_rows_have(unlabelled)} an empty label: fill in or remove")
    if messages["label"].nunique() == 1:
        raise LabelError(
            f"{name}: every message has the label {messages['label'][0]!r}: a classifier needs messages"
            " of at least two labels"
        )
    messages.attrs[DROPPED] = len(blank)
    return messages


def _rows_have(rows: Sequence[int]) -> str:
    if len(rows) == 1:
        return f"row {rows[0]} (counted from 0) has"
    first = ", ".join(map(str, rows[:3])) + (", …" if len(rows) > 3 else "")
    return f"{len(rows)} rows ({first}; counted from 0) have"
