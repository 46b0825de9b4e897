"""Train, test and validation of entries: order, shares, and questions that are asked twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.entries.reading import questions, read_entries
from lib.data.entries.split import EntrySplits, split_entries
from lib.errors import MessagesError, RecipeError


def table(asked: list[str]) -> pd.DataFrame:
    """One entry for each question, with an output of its own."""
    numbers = range(len(asked))
    outputs = [f"answer {number}" for number in numbers]
    return pd.DataFrame({"id": [*numbers], "instruction": asked, "input": "", "output": outputs})


def words(count: int) -> list[str]:
    """Different questions."""
    return [f"{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(count)]


def split(entries: pd.DataFrame, **options: Any) -> EntrySplits:
    plain = {"train": 0.85, "test": 0.1, "shuffle": False, "seed": 123, "group_duplicates": False}
    return split_entries(entries, **(plain | options))


def ids(splits: EntrySplits) -> dict[str, list[int]]:
    return {name: part["id"].tolist() for name, part in splits.tables().items()}


def test_in_the_order_of_the_file_train_then_test_then_validation() -> None:
    splits = split(table(words(40)))
    assert ids(splits) == {
        "train": list(range(34)),
        "test": [34, 35, 36, 37],
        "validation": [38, 39],
    }
    assert list(splits.train.columns) == ["id", "instruction", "input", "output"]
    assert splits.report["rows"] == {"train": 34, "validation": 2, "test": 4}


def test_shuffled_with_a_seed() -> None:
    entries = table(words(40))
    splits = split(entries, shuffle=True, seed=7)
    order = entries.sample(frac=1, random_state=7)["id"].tolist()
    assert ids(splits) == {"train": order[:34], "test": order[34:38], "validation": order[38:]}
    assert ids(split(entries, shuffle=True, seed=7)) == ids(splits)
    assert ids(split(entries, shuffle=True, seed=8)) != ids(splits)


@pytest.mark.parametrize("shuffle", [False, True])
def test_without_duplicates_grouping_changes_nothing(shuffle: bool) -> None:
    entries = table(words(40))
    assert ids(split(entries, shuffle=shuffle, group_duplicates=True)) == ids(split(entries, shuffle=shuffle))


def test_a_group_goes_where_its_first_entry_stands_and_others_take_its_places() -> None:
    asked = words(20)
    asked[18] = asked[3].upper() + "!"  # near-duplicates of an entry of train, in test and in validation
    asked[19] = asked[3] + " 5"
    splits = split(table(asked), train=0.8, group_duplicates=True)
    assert ids(splits) == {
        "train": [*range(14), 18, 19],
        "test": [14, 15],
        "validation": [16, 17],
    }
    straddling = splits.report["straddling"]
    assert straddling["made"]["near_duplicates"] == {"validation": 0, "test": 0}
    assert straddling["plain"] == {
        "near_duplicates": {"validation": 2, "test": 0},
        "copies": {"validation": 0, "test": 0},
    }


def test_a_group_that_no_longer_fits_goes_to_the_next_split_whole() -> None:
    asked = [*words(15), "same", "same", *words(18)[15:]]
    splits = split(table(asked), train=0.8, test=0.15, group_duplicates=True)  # 16, 3 and 1
    assert ids(splits) == {"train": [*range(15), 17], "test": [15, 16, 18], "validation": [19]}


def test_only_a_group_without_room_anywhere_changes_the_sizes() -> None:
    asked = [*words(30), *["same"] * 5, *words(35)[30:]]
    splits = split(table(asked), train=0.8, group_duplicates=True)  # 32, 4 and 4: nowhere is room for five
    assert ids(splits) == {
        "train": [*range(30), 35, 36],
        "test": [30, 31, 32, 33, 34],
        "validation": [37, 38, 39],
    }


def test_straddling_entries_are_counted_with_their_copies() -> None:
    asked = words(20)
    asked[17], asked[19] = asked[0], asked[1] + "?"
    report = split(table(asked), train=0.8).report["straddling"]["made"]
    assert report == {"near_duplicates": {"validation": 1, "test": 1}, "copies": {"validation": 0, "test": 1}}


@pytest.mark.parametrize(("train", "test"), [(0.9, 0.1), (0.9, 0.2), (0.0, 0.1), (1.0, 0.0)])
def test_fractions_that_leave_nothing_for_a_split_are_refused(train: float, test: float) -> None:
    with pytest.raises(RecipeError, match=r"split\.train and split\.test are .* validation gets the rest"):
        split(table(words(40)), train=train, test=test)


def test_too_few_entries_are_refused() -> None:
    with pytest.raises(MessagesError, match=r"^9 entries are too few for one in each split \(test has none\): add"):
        split(table(words(9)))
    with pytest.raises(MessagesError, match=r"^20 entries \(1 if near-duplicates are counted once\) are too few"):
        split(table(["same"] * 20), group_duplicates=True)


@pytest.mark.data
def test_the_published_split(real_data: Path) -> None:
    entries = read_entries(real_data / "instruction-data.json").table
    splits = split(entries)
    assert ids(splits) == {
        "train": list(range(935)),
        "test": list(range(935, 1045)),
        "validation": list(range(1045, 1100)),
    }
    assert splits.report["straddling"]["made"] == {
        "near_duplicates": {"validation": 4, "test": 8},
        "copies": {"validation": 4, "test": 2},
    }
    assert splits.validation["instruction"][0] == (
        "Convert the active sentence to passive: 'The chef cooks the meal every day.'"
    )


@pytest.mark.data
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_published_file_with_duplicates_kept_together(real_data: Path, shuffle: bool) -> None:
    splits = split(read_entries(real_data / "instruction-data.json").table, shuffle=shuffle, group_duplicates=True)
    assert splits.report["rows"] == {"train": 935, "validation": 55, "test": 110}
    asked = [set(questions(part)) for part in splits.tables().values()]
    assert sum(map(len, asked)) == len(set.union(*asked)) == 1100 - 82
    assert sorted(number for part in ids(splits).values() for number in part) == list(range(1100))
