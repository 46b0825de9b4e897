from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lib.training.batches import PublishedOrder, SortedOrder

Sample = Callable[[int | None], list[list[int]]]

LENGTHS = [(7 * message) % 31 + 1 for message in range(103)]


def loaders(train_count: int, validation_count: int) -> tuple[DataLoader[Tensor], DataLoader[Tensor]]:
    """The published procedure's, over the positions themselves."""
    train, validation = (cast("Dataset[Tensor]", torch.arange(count)) for count in (train_count, validation_count))
    return DataLoader(train, batch_size=8, shuffle=True, drop_last=True), DataLoader(validation, batch_size=8)


def first(loader: DataLoader[Tensor], batches: int | None) -> list[list[int]]:
    """The first batches, leaving the loader as the published evaluation does: after one batch too many."""
    taken = []
    for number, batch in enumerate(loader):
        if batches is not None and number >= batches:
            break
        taken.append(batch.tolist())
    return taken


@pytest.mark.parametrize(("train_count", "validation_count"), [(103, 21), (16, 8), (8, 3)])
def test_published_order_is_that_of_real_data_loaders(train_count: int, validation_count: int) -> None:
    def passes(train: Callable[[], Iterable[list[int]]], train_sample: Sample, validation: Sample) -> list[Any]:
        """An epoch with evaluations inside it and after it, twice; then what the generator draws next."""
        torch.manual_seed(123)
        drawn: list[list[int] | list[list[int]]] = []
        for _ in range(2):
            for number, batch in enumerate(train()):
                drawn.append(batch)
                if number % 5 == 0:
                    drawn += [train_sample(2), validation(2)]
            drawn += [train_sample(5), validation(5), train_sample(None), validation(None)]
        return [*drawn, torch.rand(3).tolist()]

    train, validation = loaders(train_count, validation_count)
    expected = passes(
        lambda: (batch.tolist() for batch in train), lambda n: first(train, n), lambda n: first(validation, n)
    )
    order = PublishedOrder(train_count, validation_count, 8)
    found = passes(order.epoch, lambda n: list(order.train_sample(n)), lambda n: list(order.validation_sample(n)))
    assert found == expected


def test_published_order_leaves_out_the_last_partial_training_batch_only() -> None:
    order = PublishedOrder(103, 21, 8)
    assert order.batches_per_epoch == len(order.epoch()) == 12
    assert {len(batch) for batch in order.epoch()} == {8}
    assert [len(batch) for batch in order.validation_sample(None)] == [8, 8, 5]


def sorted_order() -> SortedOrder:
    return SortedOrder(LENGTHS, LENGTHS[:21], 8, seed=5)


def test_sorted_order_takes_every_message_once() -> None:
    epoch = sorted_order().epoch()
    assert sorted(message for batch in epoch for message in batch) == list(range(103))
    assert len(epoch) == sorted_order().batches_per_epoch == 13
    assert sorted(len(batch) for batch in epoch) == [7] + [8] * 12


def test_sorted_order_puts_similar_lengths_together_in_shuffled_batches() -> None:
    torch.manual_seed(0)
    longest = [max(LENGTHS[message] for message in batch) for batch in sorted_order().epoch()]
    padded = sum(longest) * 8
    assert padded < 1.1 * sum(LENGTHS)
    assert longest != sorted(longest)


def test_sorted_order_sorts_within_windows_only() -> None:
    count = 8 * 50 * 3
    order = SortedOrder(list(range(count)), [1], 8, seed=0)
    spreads = [max(batch) - min(batch) for batch in order.epoch()]
    assert min(spreads) > 7  # sorted as a whole, each batch would hold neighbours
    assert sum(spreads) / len(spreads) < 100  # unsorted, it would be about 930


def test_sorted_epochs_follow_the_global_generator() -> None:
    order = sorted_order()
    torch.manual_seed(1)
    one, two = list(order.epoch()), list(order.epoch())
    torch.manual_seed(1)
    assert [list(order.epoch()), list(order.epoch())] == [one, two]
    assert one != two


def test_sorted_samples_stand_for_the_split() -> None:
    order = SortedOrder(LENGTHS, LENGTHS, 8, seed=5)
    sample = order.validation_sample(3)
    lengths = [LENGTHS[message] for batch in sample for message in batch]
    assert len(lengths) == 24
    assert lengths == sorted(lengths)
    assert min(lengths) < 8
    assert max(lengths) > 24
    assert list(order.validation_sample(3)) == list(sample)
    assert list(order.train_sample(3)) != list(order.train_sample(3))
    assert sorted(m for batch in order.validation_sample(None) for m in batch) == list(range(103))
