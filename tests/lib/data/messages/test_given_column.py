"""Which split a row belongs to, by what a column says."""

from __future__ import annotations

import pytest

from lib.data.messages.given import splits_by_value
from lib.errors import MessagesError


def test_the_usual_words_are_known_in_any_case() -> None:
    assert splits_by_value({"Train": 8, " dev": 1, "TEST": 1, "val": 2}, None, where="t.csv") == {
        "Train": "train",
        " dev": "validation",
        "TEST": "test",
        "val": "validation",
    }


def test_other_words_are_given_by_the_recipe_and_the_rest_is_left_out() -> None:
    names = {"test": ("holdout",), "train": ("A", "B")}
    counts = {"A": 5, "B": 5, "holdout": 2, "dev": 1, "C": 9}
    assert splits_by_value(counts, names, where="t.csv") == {
        "A": "train",
        "B": "train",
        "holdout": "test",
        "dev": "validation",
    }


@pytest.mark.parametrize(
    ("counts", "names", "sentence"),
    [
        (
            {"train": 8, "holdout": 2},
            None,
            "t.csv: the column of split.column says 'holdout' (2 rows), which is no split: say which is which, such as"
            " --split.names '{test: [holdout]}'; rows with other values are then left out",
        ),
        (
            {"a": 8, "b": 2},
            {"test": ("b",)},
            "t.csv: the column of split.column says 'a' (8 rows), 'b' (2), and none of it is train: name the value of"
            " train in split.names, or leave split.column out",
        ),
        (
            {"train": 8},
            None,
            "t.csv: by the column of split.column every row is of train: leave split.column out, and the rows are"
            " divided",
        ),
    ],
)
def test_a_column_that_gives_no_splits_is_refused(
    counts: dict[str, int], names: dict[str, tuple[str, ...]] | None, sentence: str
) -> None:
    with pytest.raises(MessagesError) as refused:
        splits_by_value(counts, names, where="t.csv")
    assert str(refused.value) == sentence
