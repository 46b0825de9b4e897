"""Reads a split's inputs for a classifier: features where they are kept, otherwise tokens."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lib.data.tables import TOKENS, load_table
from lib.model.features.file import Features


def split_inputs(tokens: Path, features: Path | None, split: str) -> Sequence[Sequence[int] | Tensor]:
    """Returns each message's features, or its tokens where no features are kept or wanted (`features` None). tokens,
    features: artifact folders with `<split>.parquet` and, where kept, `<split>.safetensors`."""
    table = load_table(tokens / f"{split}.parquet", TOKENS)
    file = None if features is None else features / f"{split}.safetensors"
    return list(table["tokens"]) if file is None or not file.exists() else Features(file, table["id"].tolist())
