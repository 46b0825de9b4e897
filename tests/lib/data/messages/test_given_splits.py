"""What becomes of splits that are given, and of train where one of them is not."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from lib.data.messages.split import Splits, split_messages
from lib.errors import LabelError

WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"]


def messages(first: int, count: int, labels: tuple[str, ...] = ("ham", "spam")) -> pd.DataFrame:
    """Messages of which no two are near-duplicates, with the labels in turn."""
    rows = range(first, first + count)
    texts = [" ".join(WORDS[int(digit)] for digit in str(row)) for row in rows]
    return pd.DataFrame({"id": rows, "text": texts, "label": [labels[row % len(labels)] for row in rows]})


def split(train: pd.DataFrame, **given: pd.DataFrame) -> Splits:
    return split_with({}, train, **given)


def split_with(more: dict[str, Any], train: pd.DataFrame, **given: pd.DataFrame) -> Splits:
    options: dict[str, Any] = {"seed": 123, "stratify": True, "group_duplicates": True, **more}
    return split_messages(train, train=0.7, validation=0.1, test=0.2, given=given, **options)


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (["test"], {"train": 350, "validation": 50, "test": 30}),  # 7:1
        (["validation"], {"train": 311, "validation": 30, "test": 89}),  # 7:2
        (["validation", "test"], {"train": 400, "validation": 30, "test": 30}),
    ],
)
def test_what_is_missing_is_split_off_train_in_proportion(given: list[str], rows: dict[str, int]) -> None:
    train = messages(0, 400)
    splits = split(train, **{name: messages(1000 * number, 30) for number, name in enumerate(given, start=1)})
    assert splits.report["rows"] == rows
    assert splits.report["given"] == given
    made = [table for name, table in splits.tables().items() if name not in given]
    assert sorted(pd.concat(made)["id"]) == train["id"].tolist()
    assert not any(pd.concat(made)["id"].duplicated())
    for table in made:
        assert abs((table["label"] == "ham").mean() - 0.5) < 0.02


def test_a_given_test_split_stays_in_the_order_of_its_file() -> None:
    test = messages(1000, 30, ("spam",))
    splits = split(messages(0, 100), test=test)
    assert splits.test[["id", "text", "label"]].equals(test)
    assert set(splits.test["target"]) == {1}
    assert splits.report["labels"]["test"] == {"ham": 0, "spam": 30}


def test_a_given_validation_split_is_shuffled_like_train() -> None:
    validation = messages(1000, 30).sort_values("label")
    splits = split(messages(0, 100).sort_values("label"), validation=validation, test=messages(2000, 10))
    for table, rows in ((splits.train, 100), (splits.validation, 30)):
        assert len(table) == rows
        assert table["label"].tolist() != sorted(table["label"])
    assert sorted(splits.validation["id"]) == sorted(validation["id"])


def test_near_duplicates_across_given_splits_are_counted_and_stay() -> None:
    train = messages(0, 100)
    test = messages(1000, 10)
    test.loc[0, "text"] = train["text"][3]
    test.loc[1, "text"] = f"{train['text'][4].upper()}!"
    validation = messages(2000, 10)
    validation.loc[2, "text"] = f"{train['text'][5]} 17"
    splits = split(train, validation=validation, test=test)
    counts = {"near_duplicates": {"validation": 1, "test": 2}, "copies": {"validation": 0, "test": 1}}
    assert splits.report["straddling"] == {"made": counts, "plain": counts}
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (100, 10, 10)


def test_near_duplicates_inside_train_stay_together_when_validation_is_split_off() -> None:
    train = messages(0, 300)
    train["text"] = [train["text"][row // 3] + "!" * (row % 3) for row in range(300)]
    splits = split(train, test=messages(1000, 10))
    assert splits.report["straddling"]["made"]["near_duplicates"] == {"validation": 0, "test": 0}
    assert splits.report["straddling"]["plain"]["near_duplicates"]["validation"] > 20


def test_only_train_has_the_copies_of_oversampling() -> None:
    train = messages(0, 90, ("ham", "ham", "spam"))
    doubled = pd.concat([train, train[train["label"] == "spam"]])
    splits = split(doubled, test=messages(1000, 10))
    assert splits.report["rows"]["test"] == 10
    assert not splits.validation["id"].duplicated().any()
    assert splits.report["labels"]["train"]["ham"] == splits.report["labels"]["train"]["spam"]


def test_near_duplicates_of_given_splits_are_left_out_of_train_on_request() -> None:
    train, test = messages(0, 100), messages(1000, 30)
    train.loc[[3, 90, 91], "text"] = test["text"][:3].str.upper().to_numpy() + "!"
    kept = split(train, test=test)
    assert kept.report["straddling"]["made"]["near_duplicates"]["test"] > 0
    assert kept.report["dropped_from_train"] == 0
    splits = split_with({"near_duplicates": "drop_from_train"}, train, test=test)
    assert splits.report["dropped_from_train"] == 3
    assert splits.report["straddling"]["made"]["near_duplicates"] == {"validation": 0, "test": 0}
    assert not {3, 90, 91} & {*splits.train["id"], *splits.validation["id"]}
    assert splits.test[["id", "text", "label"]].equals(test)


def test_train_may_not_lose_a_label_to_them() -> None:
    train, test = messages(0, 40), messages(1000, 30)
    train.loc[train["label"] == "spam", "text"] = test["text"][0]
    with pytest.raises(LabelError, match="every message labelled 'spam' has a near-duplicate in a given split"):
        split_with({"near_duplicates": "drop_from_train"}, train, test=test)


def test_targets_are_in_the_order_of_the_labels() -> None:
    splits = split_with({"labels": ["spam", "ham"]}, messages(0, 100), test=messages(1000, 30))
    assert splits.labels == ("spam", "ham")
    for table in splits.tables().values():
        assert [splits.labels[target] for target in table["target"]] == table["label"].tolist()
