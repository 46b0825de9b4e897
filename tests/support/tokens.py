"""Tokens of messages that are given as frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lib.data.parts import Parts, load_parts, save_parts
from lib.data.tables import MESSAGES, TOKENS, WINDOWS
from lib.data.tokens import Tokenized, write_tokens


def tokenized(
    splits: Mapping[str, pd.DataFrame], folder: Path, **options: Any
) -> tuple[Tokenized, dict[str, pd.DataFrame]]:
    """Writes the tokens of splits (id, text, label) into a folder, which it makes; returns what is said of them, and
    the tables, with tokens as lists. options: as in `write_tokens`."""
    for name, frame in splits.items():
        save_parts(frame, folder / "messages" / name, MESSAGES)
    (folder / "tokens").mkdir()
    parts = {name: Parts(folder / "messages" / name, MESSAGES) for name in splits}
    found = write_tokens(parts, folder / "tokens", scratch=folder / "scratch", **options)
    schema = WINDOWS if found.long_texts.method == "windows" else TOKENS
    tables = {name: load_parts(folder / "tokens" / name, schema) for name in splits}
    return found, {
        name: table.assign(tokens=[row.tolist() for row in table["tokens"]]) for name, table in tables.items()
    }
