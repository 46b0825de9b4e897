"""Writes small tables as the steps do: in parts, with the keys of their texts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lib.data.messages.keys import keys_of
from lib.data.parts import Parts, save_parts
from lib.data.tables import KEYED_MESSAGES, KEYED_SPLIT


def keyed(frame: pd.DataFrame, folder: Path, *, labels: tuple[str, ...] = ("ham", "spam")) -> Parts:
    """The parts of a table of messages (id, text, label), or of a split's, which has their target as well."""
    schema = KEYED_SPLIT if "target" in frame else KEYED_MESSAGES
    keys = keys_of(frame["text"]).to_pandas().set_index(frame.index)
    save_parts(frame.join(keys), folder, schema, labels=labels)
    return Parts(folder, schema)


def keyed_splits(splits: Mapping[str, pd.DataFrame], folder: Path) -> dict[str, Parts]:
    """The parts of several tables of messages, in a new folder within this one."""
    within = Path(tempfile.mkdtemp(dir=folder))
    return {name: keyed(frame, within / name) for name, frame in splits.items()}
