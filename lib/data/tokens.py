"""Reads what the step `tokenize` wrote: the tokens of a split's messages, or their windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.parts import load_parts
from lib.data.tables import TOKENS, WINDOWS
from lib.files.jsonfile import load_json
from lib.text.long_texts import LongTexts
from lib.text.windows import Texts, Windows

REPORT = "tokens.json"  # how messages were read, and what of them was not


@dataclass(frozen=True)
class SplitTokens:
    """A split's messages: the tokens of each, or of its windows, and the target of each.

    row_ids: the id of the message of each row.
    """

    texts: Texts
    targets: Sequence[int]
    row_ids: Sequence[int]


def load_tokens(folder: Path, split: str) -> SplitTokens:
    """Reads a split from the artifact's folder; raises StoreError as `load_table` does."""
    long_texts = load_long_texts(folder)
    in_windows = long_texts.method == "windows"
    table = load_parts(folder / split, WINDOWS if in_windows else TOKENS)
    rows, targets = list(table["tokens"]), table["target"].tolist()
    if not in_windows:
        return SplitTokens(rows, targets, table["id"].tolist())
    firsts = np.flatnonzero(table["window"] == 0)
    counts = np.diff(np.append(firsts, len(table))).tolist()
    windows = Windows(rows, counts, long_texts.window_pooling)
    return SplitTokens(windows, [targets[row] for row in firsts], table["id"].tolist())


def load_long_texts(folder: Path) -> LongTexts:
    """Reads how the messages of the artifact in a folder were read."""
    fields: dict[str, Any] = load_json(folder / REPORT).get("long_texts", {})
    return LongTexts(**fields)
