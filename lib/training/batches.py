"""Decides which messages make a batch, and in which order, for training and for evaluations.

Orders draw from torch's global generator, which the training loop seeds and its checkpoints save.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch

SORTED = 50  # batches whose messages are sorted by length together

Batches = list[list[int]]  # positions of messages in their split


class EncodedMessages(NamedTuple):
    """A split ready for the model: tokens or features (length, emb_dim) of messages or of their windows, and targets
    (for example classes, from 0)."""

    inputs: Sequence[Any]
    targets: Sequence[Any]


class Order(Protocol):
    """Orders the batches of training and of evaluations."""

    @property
    def batches_per_epoch(self) -> int:
        """Training batches per epoch, the same for every epoch."""

    def epoch(self) -> Batches:
        """The training batches of the next epoch, in order."""

    def train_sample(self, batches: int | None) -> Batches:
        """Training messages to evaluate on, drawn anew, at most `batches` batches (None: all)."""

    def validation_sample(self, batches: int | None) -> Batches:
        """Validation messages to evaluate on, always the same, at most `batches` batches (None: all)."""


class PublishedOrder:
    """The order of two torch `DataLoader`s: training shuffled without its last partial batch, validation in file order.

    It repeats the loaders' draws from the global generator one by one (torch 2.13: `_BaseDataLoaderIter.__init__` and
    `RandomSampler.__iter__`), so that a seed gives the published procedure's numbers. Each pass over a loader, also in
    an evaluation, begins with a draw that only worker processes would use.
    """

    def __init__(self, train_count: int, validation_count: int, batch_size: int) -> None:
        self.train_count = train_count
        self.validation_count = validation_count
        self.batch_size = batch_size

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches only."""
        return self.train_count // self.batch_size

    def epoch(self) -> Batches:
        """A new shuffle."""
        _draw_seed()
        shuffle = torch.Generator().manual_seed(_draw_seed())
        order = torch.randperm(self.train_count, generator=shuffle).tolist()
        return _cut(order, self.batch_size)[: self.batches_per_epoch]

    def train_sample(self, batches: int | None) -> Batches:
        """The first batches of a new shuffle."""
        return self.epoch()[:batches]

    def validation_sample(self, batches: int | None) -> Batches:
        """The first batches of the file."""
        return self.plain_sample(self.validation_count, batches)

    def plain_sample(self, count: int, batches: int | None) -> Batches:
        """The first batches of an unshuffled loader over `count` messages."""
        _draw_seed()
        return _cut(list(range(count)), self.batch_size)[:batches]


class SortedOrder:
    """Batches of messages of similar length, which keeps padding low; no message is left out. Evaluations use randomly
    drawn messages, so that a few batches represent the split."""

    def __init__(
        self, train_lengths: Sequence[int], validation_lengths: Sequence[int], batch_size: int, *, seed: int
    ) -> None:
        self.train_lengths = train_lengths
        self.batch_size = batch_size
        self.validation_lengths = validation_lengths
        generator = torch.Generator().manual_seed(seed)
        self.validation_order: list[int] = torch.randperm(len(validation_lengths), generator=generator).tolist()

    @property
    def batches_per_epoch(self) -> int:
        """The last batch of an order may be smaller than the others."""
        return -(-len(self.train_lengths) // self.batch_size)

    def epoch(self) -> Batches:
        """Shuffles, sorts by length within groups of batches, and shuffles the batches."""
        order = torch.randperm(len(self.train_lengths)).tolist()
        batches = [
            batch
            for group in _cut(order, SORTED * self.batch_size)
            for batch in _cut(_by_length(group, self.train_lengths), self.batch_size)
        ]
        return [batches[index] for index in torch.randperm(len(batches)).tolist()]

    def train_sample(self, batches: int | None) -> Batches:
        """Random messages, sorted by length."""
        return self._sample(torch.randperm(len(self.train_lengths)).tolist(), self.train_lengths, batches)

    def validation_sample(self, batches: int | None) -> Batches:
        """The same random messages each time, sorted by length."""
        return self._sample(self.validation_order, self.validation_lengths, batches)

    def _sample(self, order: list[int], lengths: Sequence[int], batches: int | None) -> Batches:
        drawn = order if batches is None else order[: batches * self.batch_size]
        return _cut(_by_length(drawn, lengths), self.batch_size)


def _draw_seed() -> int:
    return int(torch.empty((), dtype=torch.int64).random_().item())


def _by_length(order: list[int], lengths: Sequence[int]) -> list[int]:
    return sorted(order, key=lengths.__getitem__)


def _cut(order: list[int], size: int) -> Batches:
    return [order[start : start + size] for start in range(0, len(order), size)]
