"""Holds what a classifier answered to the messages of each split, beside what is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.data.lookup import FirstTimes, places
from lib.data.parts import Parts
from lib.evaluation.pieces import pieces
from lib.files.mapped import IN_MEMORY, Arrays
from lib.model.labels import MOST_PROBABLE, UNSCALED, Probabilities, Targets, given_labels, with_temperature

RESERVE = "reserve"  # what undersampling left out: never trained on


@dataclass(frozen=True)
class Answers:
    """The answers to the messages of `train`, `validation`, `test`, and of `reserve` if that was asked for.

    splits: the messages of each, with the schema `KEYED_MESSAGES`. probabilities: (rows, classes) of each. positive,
    threshold: of two labels, the one that precision and recall are about, and from which probability on it is given.
    confidence: the intervals' level. arrays: where what is as long as the data lies.
    """

    splits: Mapping[str, Parts]
    probabilities: Mapping[str, Probabilities]
    labels: tuple[str, ...]
    positive: str | None
    threshold: float = MOST_PROBABLE
    confidence: float = 0.95
    arrays: Arrays = IN_MEMORY

    def decided(self, threshold: float, temperature: float) -> Answers:
        """Returns what becomes of these probabilities by a temperature, and then a threshold."""
        if temperature == UNSCALED:
            return replace(self, threshold=threshold)
        calibrated = {name: self.arrays.empty(rows.shape, np.float64) for name, rows in self.probabilities.items()}
        for name, rows in self.probabilities.items():
            for some in pieces(len(rows)):
                calibrated[name][some] = with_temperature(rows[some], temperature)
        return replace(self, probabilities=calibrated, threshold=threshold)

    @cached_property
    def targets(self) -> dict[str, Targets]:
        """The right class of each message (rows,), by split."""
        return {
            name: split.positions("label", self.labels, out=self.arrays.empty((len(split),), np.int64))
            for name, split in self.splits.items()
        }

    @cached_property
    def given(self) -> dict[str, Targets]:
        """The class that each message got (rows,), by split."""
        found = {name: self.arrays.empty((len(rows),), np.int64) for name, rows in self.probabilities.items()}
        for name, rows in self.probabilities.items():
            for some in pieces(len(rows)):
                found[name][some] = given_labels(rows[some], **self.rule)
        return found

    @property
    def rule(self) -> dict[str, Any]:
        """How probabilities become labels, as keyword arguments."""
        return {"labels": self.labels, "positive": self.positive, "threshold": self.threshold}

    def counts(self, source: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Counts messages by label, for the source and for each split that has any; there each once, however often
        oversampling repeats it."""
        counts = {"source": {label: source.get(label, 0) for label in self.labels}}
        for name in self.splits:
            if len(self.targets[name]):
                found = np.bincount(self.targets[name][self.once(name)], minlength=len(self.labels))
                counts[name] = dict(zip(self.labels, found.tolist(), strict=True))
        return counts

    def once(self, split: str) -> NDArray[np.int64]:
        """Returns the rows of a split's messages, each once, ascending."""
        first_times, kept, first = FirstTimes(), [np.zeros(0, np.int64)], 0
        for batch in self.splits[split].batches(["id"]):
            kept.append(first + np.flatnonzero(first_times.mark(batch.column("id").to_numpy())))
            first += len(batch)
        return np.concatenate(kept)

    def new(self) -> Iterator[tuple[Targets, Probabilities]]:
        """Yields targets and probabilities of the messages of test split and reserve that have no near-duplicate among
        those of the training, in pieces. Undersampling ignores duplicates, so the reserve contains copies of training
        messages."""
        trained_on = np.unique(self.splits["train"].numbers("near_high"))
        for name in ("test", RESERVE):
            first = 0
            for batch in self.splits[name].batches(["near_high"]) if name in self.splits else ():
                kept = first + np.flatnonzero(places(batch.column("near_high").to_numpy(), trained_on) < 0)
                yield self.targets[name][kept], self.probabilities[name][kept]
                first += len(batch)


def text_batches(split: Parts) -> Iterator[list[str]]:
    """Yields the texts of a split, batch by batch."""
    for batch in split.batches(["text"]):
        yield batch.column("text").to_pylist()


def texts_of(split: Parts) -> Iterator[str]:
    """Yields the texts of a split, one by one."""
    for texts in text_batches(split):
        yield from texts


def texts_at(split: Parts, rows: NDArray[np.int64]) -> list[str]:
    """Returns the texts at these positions in a split."""
    texts: list[str] = split.take(rows, ["text"]).column("text").to_pylist()
    return texts
