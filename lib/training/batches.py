"""Decides which messages make a batch, and in which order, for training and for evaluations.

Orders draw from torch's global generator, which the training loop seeds and its checkpoints save.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray

SORTED = 50  # batches whose messages are sorted by length together


class Batches(Sequence[list[int]]):
    """Batches, in order: each the positions of its messages in their split.

    messages: the positions (messages,) int64. size: the messages of a batch; the last of `messages` may make a smaller
    one. begins: where in `messages` each batch begins, (batches,) int64 (None: one after another).
    """

    def __init__(self, messages: NDArray[np.int64], size: int, begins: NDArray[np.int64] | None = None) -> None:
        self.messages, self.size = messages, size
        self.begins = np.arange(0, len(messages), size) if begins is None else begins

    def __len__(self) -> int:
        return len(self.begins)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> "Batches": ...
    def __getitem__(self, index: int | slice) -> "list[int] | Batches":
        if isinstance(index, slice):
            return Batches(self.messages, self.size, self.begins[index])
        begin = int(self.begins[index])
        batch: list[int] = self.messages[begin : begin + self.size].tolist()
        return batch


class EncodedMessages(NamedTuple):
    """A split ready for the model: tokens or features (length, emb_dim) of messages or of their windows, and targets
    (for example classes, from 0)."""

    inputs: Sequence[Any]
    targets: Sequence[Any] | NDArray[np.integer[Any]]


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
        order = torch.randperm(self.train_count, generator=shuffle).numpy()
        return Batches(order, self.batch_size)[: self.batches_per_epoch]

    def train_sample(self, batches: int | None) -> Batches:
        """The first batches of a new shuffle."""
        return self.epoch()[:batches]

    def validation_sample(self, batches: int | None) -> Batches:
        """The first batches of the file."""
        return self.plain_sample(self.validation_count, batches)

    def plain_sample(self, count: int, batches: int | None) -> Batches:
        """The first batches of an unshuffled loader over `count` messages."""
        _draw_seed()
        return Batches(np.arange(count), self.batch_size)[:batches]


class SortedOrder:
    """Batches of messages of similar length, which keeps padding low; no message is left out. Evaluations use randomly
    drawn messages, so that a few batches represent the split."""

    def __init__(
        self, train_lengths: npt.ArrayLike, validation_lengths: npt.ArrayLike, batch_size: int, *, seed: int
    ) -> None:
        self.train_lengths = np.asarray(train_lengths)
        self.batch_size = batch_size
        # Drawn again at each evaluation: a new array each time would leave ever more holes in the heap.
        self._drawn = torch.empty(len(self.train_lengths), dtype=torch.int64)
        self.validation_lengths = np.asarray(validation_lengths)
        generator = torch.Generator().manual_seed(seed)
        self.validation_order = torch.randperm(len(self.validation_lengths), generator=generator).numpy()

    @property
    def batches_per_epoch(self) -> int:
        """The last batch of an order may be smaller than the others."""
        return -(-len(self.train_lengths) // self.batch_size)

    def epoch(self) -> Batches:
        """Shuffles, sorts by length within groups of batches, and shuffles the batches."""
        order = torch.randperm(len(self.train_lengths)).numpy()
        together = SORTED * self.batch_size
        for first in range(0, len(order), together):
            order[first : first + together] = _by_length(order[first : first + together], self.train_lengths)
        shuffled = torch.randperm(self.batches_per_epoch).numpy()
        return Batches(order, self.batch_size, self.batch_size * shuffled)

    def train_sample(self, batches: int | None) -> Batches:
        """Random messages, sorted by length."""
        torch.randperm(len(self.train_lengths), out=self._drawn)
        return self._sample(self._drawn.numpy(), self.train_lengths, batches)

    def validation_sample(self, batches: int | None) -> Batches:
        """The same random messages each time, sorted by length."""
        return self._sample(self.validation_order, self.validation_lengths, batches)

    def _sample(self, order: NDArray[np.int64], lengths: NDArray[np.integer[Any]], batches: int | None) -> Batches:
        drawn = order if batches is None else order[: batches * self.batch_size]
        return Batches(_by_length(drawn, lengths), self.batch_size)


def _draw_seed() -> int:
    return int(torch.empty((), dtype=torch.int64).random_().item())


def _by_length(order: NDArray[np.int64], lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Returns the same positions, sorted by length; those of equal length keep their order."""
    return order[np.argsort(lengths[order], kind="stable")]
