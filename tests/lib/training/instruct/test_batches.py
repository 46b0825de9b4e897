"""Batches of entries: padding, targets, masking, and the published figures. Tokens can be read by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.data.entries.reading import read_entries
from lib.data.entries.split import split_entries
from lib.errors import MessagesError
from lib.text.entry_tokens import tokenize_entries
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.prompts import STYLES
from lib.training.batches import PublishedOrder, SortedOrder
from lib.training.instruct.batches import END, IGNORED, EncodedEntries, collate, encoded_entries

TOY = [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]

# What the notebook of chapter 7 prints for its train loader, batch by batch.
PUBLISHED_WIDTHS = [
    61, 76, 73, 68, 65, 72, 80, 67, 62, 75, 62, 68, 67, 77, 69, 79, 71, 66, 83, 68, 80, 71, 69, 65, 68, 60, 59, 69, 63,
    65, 76, 66, 71, 91, 65, 64, 67, 66, 64, 65, 75, 89, 59, 88, 83, 83, 70, 65, 74, 76, 67, 75, 83, 69, 67, 60, 60, 66,
    80, 71, 61, 58, 71, 67, 68, 63, 87, 68, 64, 68, 71, 68, 71, 61, 65, 67, 65, 64, 60, 72, 64, 70, 57, 72, 64, 68, 62,
    74, 80, 68, 70, 91, 61, 66, 80, 81, 74, 82, 63, 83, 68, 67, 77, 91, 64, 61, 75, 64, 66, 78, 66, 64, 83, 66, 74, 69,
]  # fmt: skip


def test_the_published_toy_batch() -> None:
    inputs, targets, lengths = collate(TOY)
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [5, 6, 50256, 50256, 50256], [7, 8, 9, 50256, 50256]]
    assert targets.tolist() == [[1, 2, 3, 4, 50256], [6, 50256, -100, -100, -100], [8, 9, 50256, -100, -100]]
    assert lengths.tolist() == [5, 2, 3]
    assert inputs.dtype == targets.dtype == lengths.dtype == torch.int64


def test_an_end_token_within_an_entry_is_no_padding() -> None:
    inputs, targets, lengths = collate([[1, END, 2, END], [3, 4, 5, 6, 7, 8]])
    assert inputs[0].tolist() == [1, END, 2, END, END, END]
    assert targets[0].tolist() == [END, 2, END, END, IGNORED, IGNORED]
    assert lengths.tolist() == [4, 6]


def test_masking_leaves_the_response_and_the_end_token() -> None:
    _, targets, _ = collate(TOY, [3, 1, 2])
    assert targets.tolist() == [
        [IGNORED, IGNORED, 3, 4, END],
        [6, END, IGNORED, IGNORED, IGNORED],
        [IGNORED, 9, END, IGNORED, IGNORED],
    ]


def test_a_response_that_begins_with_the_text_is_learnt_from_its_second_token_on() -> None:
    assert collate([[5, 6]], [0]).targets.tolist() == [[6, END]]


def test_cutting_keeps_the_next_token_as_a_target_and_drops_the_end() -> None:
    inputs, targets, lengths = collate(TOY, max_length=3)
    assert inputs.tolist() == [[0, 1, 2], [5, 6, END], [7, 8, 9]]
    assert targets.tolist() == [[1, 2, 3], [6, END, IGNORED], [8, 9, END]]
    assert lengths.tolist() == [3, 2, 3]


@pytest.mark.parametrize("max_length", [1, 2, 3, 4, 5, 6])
def test_tables_are_cut_so_that_batches_lose_nothing(max_length: int) -> None:
    """A table keeps `max_length` + 1 tokens of an entry."""
    kept = collate([tokens[: max_length + 1] for tokens in TOY], [1, 1, 2], max_length=max_length)
    for ours, whole in zip(kept, collate(TOY, [1, 1, 2], max_length=max_length), strict=True):
        assert torch.equal(ours, whole)


def test_masking_what_is_cut_off_anyway() -> None:
    assert collate([[1, 2, 3, 4], [5, 6]], [3, 1], max_length=2).targets.tolist() == [[IGNORED, IGNORED], [6, END]]


def test_an_entry_without_tokens_is_refused() -> None:
    with pytest.raises(MessagesError, match="no tokens"):
        collate([[1], []])


# Splits


def token_table() -> pd.DataFrame:
    tokens = [np.array(each, dtype=np.int32) for each in ([1, 2, 3, 4], [5, 6, 7], [8, 9])]
    return pd.DataFrame({"id": [10, 11, 12], "tokens": tokens, "response_start": [4, 1, 1]})


def test_a_split_gives_batches_of_its_entries() -> None:
    split = encoded_entries(token_table(), "training", max_length=3, mask_instruction=False)
    assert split.lengths() == [3, 3, 2]
    (inputs, places, wanted), targets, tokens = split.batch([2, 0])
    assert inputs.tolist() == [[8, 9, END], [1, 2, 3]]
    assert targets.tolist() == [[9, END, IGNORED], [2, 3, 4]]
    assert places.tolist() == [0, 1, 3, 4, 5]
    assert wanted.tolist() == [9, END, 2, 3, 4]
    assert tokens == 2 + 3


def test_a_split_whose_instructions_are_masked() -> None:
    split = encoded_entries(token_table(), "training", max_length=4, mask_instruction=True)
    assert split.batch([0, 1]).targets.tolist() == [[IGNORED, IGNORED, IGNORED, END], [6, 7, END, IGNORED]]


def test_nothing_left_to_learn_is_refused_where_instructions_are_masked() -> None:
    sentence = (
        r"^Entry 11 \(counted from 1\) of the source file, in training, has nothing left to learn: .* all 3 tokens"
    )
    with pytest.raises(MessagesError, match=sentence):
        encoded_entries(token_table(), "training", max_length=3, mask_instruction=True)


def lists(*rows: list[int]) -> pd.Series:
    return pd.Series(list(rows), dtype="object")


def test_earlier_answers_are_learnt_too() -> None:
    table = token_table().assign(earlier_answers=lists([0, 2, 2, 3], [], []), response_start=[3, 1, 1])
    split = encoded_entries(table, "training", max_length=4, mask_instruction=True)
    assert split.batch([0, 1]).targets.tolist() == [[2, 3, 4, END], [6, 7, END, IGNORED]]
    skipped = table.assign(earlier_answers=lists([1, 2], [], []))
    split = encoded_entries(skipped, "training", max_length=4, mask_instruction=True)
    assert split.batch([0]).targets.tolist() == [[2, IGNORED, 4, END]]
    whole = encoded_entries(table, "training", max_length=4, mask_instruction=False)
    assert whole.batch([0]).targets.tolist() == [[2, 3, 4, END]]


def test_an_entry_that_was_cut_in_its_earlier_answers_has_something_to_learn() -> None:
    table = token_table().assign(earlier_answers=lists([1, 4], [], []), response_start=[9, 1, 1])
    split = encoded_entries(table, "training", max_length=3, mask_instruction=True)
    assert split.batch([0]).targets.tolist() == [[2, 3, 4]]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(MessagesError, match="There are no validation entries"):
        encoded_entries(token_table().iloc[:0], "validation", max_length=3, mask_instruction=False)


# The real file


@pytest.fixture(scope="module")
def published(real_data: Path) -> EncodedEntries:
    """The training split as the `book` recipe has it."""
    entries = read_entries(real_data / "instruction-data.json").table
    splits = split_entries(entries, train=0.85, test=0.1, shuffle=False, seed=123, group_duplicates=False)
    tables = tokenize_entries(
        {"train": splits.train},
        style=STYLES["alpaca"],
        tokenizer=gpt2_tokenizer(),
        max_length=1024,
        context_length=1024,
    ).tokens
    return encoded_entries(tables["train"], "training", max_length=1024, mask_instruction=False)


@pytest.mark.data
def test_the_116_training_batches_have_the_published_widths(published: EncodedEntries) -> None:
    # The notebook sets the seed just before it makes the loaders, which draw nothing until they are gone through; and
    # again just before training, whose first epoch therefore has the same batches.
    torch.manual_seed(123)
    epoch = PublishedOrder(935, 55, 8).epoch()
    batches = [published.batch(positions) for positions in epoch]
    assert [batch.inputs[0].shape for batch in batches] == [(8, width) for width in PUBLISHED_WIDTHS]
    assert [batch.targets.shape for batch in batches] == [(8, width) for width in PUBLISHED_WIDTHS]
    assert len(PUBLISHED_WIDTHS) == 116
    # The notebook also prints the first row of the last batch.
    first, targets = batches[-1].inputs[0][0].tolist(), batches[-1].targets[0].tolist()
    prompt = STYLES["alpaca"].prompt("Rewrite the sentence using a simile.", "The baby is very cute.")
    response = STYLES["alpaca"].response("The baby is as cute as a button.")
    assert gpt2_tokenizer().decode(first[:60]) == prompt + response
    assert first[60:] == [END] * 9
    assert targets == [*first[1:60], END, *[IGNORED] * 9]


@pytest.mark.data
def test_sorted_batches_hold_less_than_two_percent_of_padding(published: EncodedEntries) -> None:
    torch.manual_seed(123)
    lengths = published.lengths()
    padded = [
        max(lengths[entry] for entry in batch) * len(batch) for batch in SortedOrder(lengths, [1], 8, seed=1).epoch()
    ]
    assert sum(lengths) == 52_760
    assert sum(padded) < 1.02 * sum(lengths)
    assert sum(PUBLISHED_WIDTHS) * 8 > 1.2 * sum(lengths)
