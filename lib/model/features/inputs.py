"""Reads a split's inputs for a classifier: features where they are kept, otherwise tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.data.tokens import load_tokens
from lib.model.features.file import Features
from lib.text.windows import Windows


def split_inputs(tokens: Path, features: Path | None, split: str) -> Sequence[Any]:
    """Returns the features of each message or of its windows, or its tokens where no features are kept or wanted
    (`features` None). tokens, features: artifact folders with `<split>.parquet` and, where kept,
    `<split>.safetensors`."""
    read = load_tokens(tokens, split)
    file = None if features is None else features / f"{split}.safetensors"
    if file is None or not file.exists():
        return read.texts
    kept = Features(file, read.row_ids)
    if not isinstance(read.texts, Windows):
        return kept
    return Windows(kept, read.texts.counts, read.texts.pooling)
