"""Reads the inputs of a classifier: features where they are kept, otherwise tokens; of a split, or of all together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lib.data.tokens import load_tokens
from lib.model.features.file import ChosenFeatures, Features
from lib.text.windows import Windows, rows_of


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


class AllInputs:
    """The inputs of several splits, of which any can be taken together.

    splits: as `split_inputs` reads them. rows: the wanted ones, counted through all splits; the first is input 0.
    """

    def __init__(self, splits: Sequence[Sequence[Any]], rows: Sequence[int]) -> None:
        self._splits = splits
        places = [(number, text) for number, split in enumerate(splits) for text in range(len(split))]
        self._places = [places[row] for row in rows]

    def __len__(self) -> int:
        return len(self._places)

    def take(self, positions: Sequence[int]) -> Sequence[Any]:
        """Returns the inputs at these positions, of the kind that they are of."""
        places = [self._places[position] for position in positions]
        first = self._splits[0]
        if not isinstance(first, Windows):
            return self._rows(places)
        windows = cast(Sequence[Windows[Any]], self._splits)
        counts = [windows[number].counts[text] for number, text in places]
        rows = [
            (number, row)
            for number, text in places
            for row in range(windows[number].starts[text], windows[number].starts[text + 1])
        ]
        return Windows(self._rows(rows), counts, first.pooling)

    def _rows(self, places: Sequence[tuple[int, int]]) -> Sequence[Any]:
        files = [rows_of(split) for split in self._splits]
        if all(isinstance(file, Features) for file in files):
            return ChosenFeatures(cast(Sequence[Features], files), places)
        return [files[number][row] for number, row in places]


def mean_features(inputs: Sequence[Any]) -> NDArray[np.float32]:
    """Returns the mean of each text's features over its tokens, of all of its windows: (texts, width) float32."""
    means = [(torch.cat(list(each)) if isinstance(inputs, Windows) else each).float().mean(dim=0) for each in inputs]
    array: NDArray[np.float32] = torch.stack(means).numpy()
    return array
