"""Holds what a classifier answered to the messages of each split, beside what is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from lib.data.duplicates import normalise
from lib.data.tables import SPLITS
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels, with_temperature

RESERVE = "reserve"  # what undersampling left out: never trained on


@dataclass(frozen=True)
class Answers:
    """The answers to the messages of `train`, `validation`, `test`, and of `reserve` if that was asked for.

    splits: id, text, label of each. probabilities: (rows, classes) of each. positive, threshold: of two labels, the one
    that precision and recall are about, and from which probability on it is given. confidence: the intervals' level.
    """

    splits: Mapping[str, pd.DataFrame]
    probabilities: Mapping[str, Probabilities]
    labels: tuple[str, ...]
    positive: str | None
    threshold: float = MOST_PROBABLE
    confidence: float = 0.95

    def decided(self, threshold: float, temperature: float) -> Answers:
        """Returns what becomes of these probabilities by a temperature, and then a threshold."""
        calibrated = {name: with_temperature(rows, temperature) for name, rows in self.probabilities.items()}
        return replace(self, probabilities=calibrated, threshold=threshold)

    @cached_property
    def targets(self) -> dict[str, Targets]:
        """The right class of each message (rows,), by split."""
        position = {label: index for index, label in enumerate(self.labels)}
        return {name: split["label"].map(position).to_numpy(np.int64) for name, split in self.splits.items()}

    @cached_property
    def given(self) -> dict[str, Targets]:
        """The class that each message got (rows,), by split."""
        return {name: given_labels(rows, **self.rule) for name, rows in self.probabilities.items()}

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """The texts of the three splits."""
        return {name: self.splits[name]["text"].tolist() for name in SPLITS}

    @property
    def rule(self) -> dict[str, Any]:
        """How probabilities become labels, as keyword arguments."""
        return {"labels": self.labels, "positive": self.positive, "threshold": self.threshold}

    def counts(self, source: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Counts messages by label, for the source and for each split that has any; there each once, however often
        oversampling repeats it."""
        counts = {"source": {label: source.get(label, 0) for label in self.labels}}
        for name, split in self.splits.items():
            if len(split):
                once = split.loc[~split["id"].duplicated(), "label"]
                counts[name] = {label: int((once == label).sum()) for label in self.labels}
        return counts

    def new(self) -> tuple[Targets, Probabilities]:
        """Returns targets and probabilities of the messages of test split and reserve that have no near-duplicate among
        those of the training. Undersampling ignores duplicates, so the reserve contains copies of training messages."""
        trained_on = set(self.splits["train"]["text"].map(normalise))
        rows: dict[str, NDArray[np.bool_]] = {
            name: ~self.splits[name]["text"].map(normalise).isin(trained_on).to_numpy(bool)
            for name in ("test", RESERVE)
            if name in self.splits
        }
        return (
            np.concatenate([self.targets[name][kept] for name, kept in rows.items()]),
            np.concatenate([self.probabilities[name][kept] for name, kept in rows.items()]),
        )

    def table(self) -> pa.Table:
        """Returns one row per message: split, id, text, label, predicted, and probability_<label> for each label."""
        names = np.array(self.labels, dtype=object)
        rows = pd.concat(
            [
                pd.DataFrame(
                    {
                        "split": name,
                        "id": split["id"].to_numpy(np.int64),
                        "text": split["text"].to_numpy(object),
                        "label": split["label"].to_numpy(object),
                        "predicted": names[self.given[name]],
                        **columns_of(self.probabilities[name], self.labels),
                    }
                )
                for name, split in self.splits.items()
            ],
            ignore_index=True,
        )
        return pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()


def columns_of(probabilities: Probabilities, labels: tuple[str, ...]) -> dict[str, Probabilities]:
    """Returns probabilities (rows, classes) as columns probability_<label>."""
    return {f"probability_{label}": probabilities[:, index] for index, label in enumerate(labels)}
