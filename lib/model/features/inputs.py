"""Reads the inputs of a classifier: features where they are kept, otherwise tokens; of a split, or of all together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray

from lib.data.tokens import load_tokens
from lib.model.features.file import ChosenFeatures, Features
from lib.text.windows import Windows, rows_of


def split_inputs(tokens: Path, features: Path | None, split: str) -> Sequence[Any]:
    """Returns the features of each message or of its windows, or its tokens where no features are kept or wanted
    (`features` None). tokens, features: artifact folders with the parts of each split and, where kept,
    those of features."""
    read = load_tokens(tokens, split)
    place = None if features is None else features / split
    if place is None or not place.exists():
        return read.texts
    kept = Features(place, read.row_ids)
    if not isinstance(read.texts, Windows):
        return kept
    return Windows(kept, read.texts.counts, read.texts.pooling)


class AllInputs:
    """The inputs of several splits, of which any can be taken together.

    splits: as `split_inputs` reads them. rows: the wanted ones, counted through all splits; the first is input 0.
    """

    def __init__(self, splits: Sequence[Sequence[Any]], rows: npt.ArrayLike) -> None:
        self._splits = splits
        self._starts = np.cumsum([0, *map(len, splits)])
        self._wanted = np.asarray(rows, np.int64)

    def __len__(self) -> int:
        return len(self._wanted)

    def take(self, positions: npt.ArrayLike) -> Sequence[Any]:
        """Returns the inputs at these positions, of the kind that they are of."""
        wanted = self._wanted[np.asarray(positions, np.int64)]
        numbers = np.searchsorted(self._starts, wanted, side="right") - 1
        texts = wanted - self._starts[numbers]
        first = self._splits[0]
        if not isinstance(first, Windows):
            return self._rows(numbers, texts)
        begins, counts = np.empty_like(texts), np.empty_like(texts)
        for number, windows in enumerate(cast(Sequence[Windows[Any]], self._splits)):
            of_split = numbers == number
            begins[of_split] = windows.starts[texts[of_split]]
            counts[of_split] = windows.starts[texts[of_split] + 1] - begins[of_split]
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(begins, counts) + inside
        return Windows(self._rows(np.repeat(numbers, counts), rows), counts, first.pooling)

    def _rows(self, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> Sequence[Any]:
        files = [rows_of(split) for split in self._splits]
        if all(isinstance(file, Features) for file in files):
            return ChosenFeatures(cast(Sequence[Features], files), numbers, rows)
        return [files[number][row] for number, row in zip(numbers.tolist(), rows.tolist(), strict=True)]


def mean_features(inputs: Sequence[Any]) -> NDArray[np.float32]:
    """Returns the mean of each text's features over its tokens, of all of its windows: (texts, width) float32."""
    means = [(torch.cat(list(each)) if isinstance(inputs, Windows) else each).float().mean(dim=0) for each in inputs]
    array: NDArray[np.float32] = torch.stack(means).numpy()
    return array
