"""Who goes to train, validation and test, and who must stay together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.duplicates import normalise
from lib.data.messages.balance import balance_messages
from lib.data.messages.reading import read_messages
from lib.data.messages.split import Splits, split_messages
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.errors import LabelError, RecipeError

WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"]


def distinct(count: int, **labels: float) -> pd.DataFrame:
    """Messages of which no two are near-duplicates; `labels` are drawn in proportion, evenly through the file."""
    texts = [" ".join(WORDS[int(digit)] for digit in str(row)) for row in range(count)]
    wheel = [label for label, share in (labels or {"ham": 1, "spam": 1}).items() for _ in range(int(share))]
    return pd.DataFrame({"id": range(count), "text": texts, "label": [wheel[i % len(wheel)] for i in range(count)]})


def split(messages: pd.DataFrame, **options: Any) -> Splits:
    defaults: dict[str, Any] = {"train": 0.7, "validation": 0.1, "test": 0.2, "seed": 123, "stratify": False}
    return split_messages(messages, **(defaults | {"group_duplicates": False} | options))


def ids(splits: Splits) -> dict[str, list[int]]:
    return {name: table["id"].tolist() for name, table in splits.tables().items()}


def straddling_keys(splits: Splits) -> set[str]:
    """Normalised texts that are in more than one split."""
    keys = [set(table["text"].map(normalise)) for table in splits.tables().values()]
    return (keys[0] & keys[1]) | (keys[0] & keys[2]) | (keys[1] & keys[2])


def test_plain_is_the_published_procedure_to_the_row() -> None:
    messages = distinct(101)
    shuffled = messages.sample(frac=1, random_state=123).reset_index(drop=True)
    train_end = int(len(shuffled) * 0.7)
    validation_end = train_end + int(len(shuffled) * 0.1)
    assert ids(split(messages)) == {
        "train": shuffled["id"][:train_end].tolist(),
        "validation": shuffled["id"][train_end:validation_end].tolist(),
        "test": shuffled["id"][validation_end:].tolist(),
    }


def test_grouping_changes_nothing_where_no_two_messages_are_alike() -> None:
    messages = distinct(101)
    assert ids(split(messages, group_duplicates=True)) == ids(split(messages))


def test_columns_labels_and_targets() -> None:
    splits = split(distinct(50, zebra=1, ant=1, mole=1))
    assert splits.labels == ("ant", "mole", "zebra")
    for table in splits.tables().values():
        assert list(table.columns) == ["id", "text", "label", "target"]
        assert table["target"].dtype == "int64"
        assert [splits.labels[target] for target in table["target"]] == table["label"].tolist()
        assert table.index.tolist() == list(range(len(table)))


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("group_duplicates", [False, True])
def test_every_message_goes_to_one_split_and_again_to_the_same(stratify: bool, group_duplicates: bool) -> None:
    messages = distinct(200, ham=4, spam=1)
    options = {"stratify": stratify, "group_duplicates": group_duplicates}
    one, again = split(messages, **options), split(messages, **options)
    assert ids(one) == ids(again)
    assert sorted(row for rows in ids(one).values() for row in rows) == list(range(200))
    assert {name: len(rows) for name, rows in ids(one).items()} == {"train": 140, "validation": 20, "test": 40}


def test_another_seed_gives_another_split() -> None:
    messages = distinct(100)
    assert ids(split(messages, seed=1)) != ids(split(messages, seed=2))


def test_rows_within_a_split_keep_the_shuffled_order() -> None:
    messages = distinct(200, ham=4, spam=1)
    order = messages.sample(frac=1, random_state=123)["id"].tolist()
    splits = split(messages, stratify=True, group_duplicates=True)
    for rows in ids(splits).values():
        assert rows == sorted(rows, key=order.index)


def test_stratify_gives_each_split_its_share_of_each_label() -> None:
    report = split(distinct(1000, ham=13, spam=2, other=5), stratify=True).report
    assert report["labels"] == {
        "train": {"ham": 455, "other": 175, "spam": 70},
        "validation": {"ham": 65, "other": 25, "spam": 10},
        "test": {"ham": 130, "other": 50, "spam": 20},
    }


def test_stratify_with_many_small_labels_keeps_the_totals() -> None:
    wheel = {f"label{i:02}": 1 for i in range(77)}
    report = split(distinct(77 * 13, **wheel), stratify=True).report
    assert report["rows"] == {"train": 700, "validation": 100, "test": 201}
    for name, share in {"train": 9.1, "validation": 1.3, "test": 2.6}.items():
        assert all(abs(count - share) < 2 for count in report["labels"][name].values())


def test_stratify_gives_a_label_with_three_messages_one_in_each_split() -> None:
    messages = distinct(60)
    messages.loc[[7, 30, 51], "label"] = "rare"
    report = split(messages, stratify=True).report
    assert [report["labels"][name]["rare"] for name in ("train", "validation", "test")] == [1, 1, 1]


def near_duplicates(groups: int, singles: int) -> pd.DataFrame:
    """Groups of 2 to 6 messages that are alike, among messages that are not."""
    table = distinct(groups + singles, ham=3, spam=1)
    copies = [
        (row["text"].upper() + "!" * copy, row["label"])
        for i, (_, row) in enumerate(table.head(groups).iterrows())
        for copy in range(1, 2 + i % 5)
    ]
    rows = list(zip(table["text"], table["label"], strict=True)) + copies
    frame = pd.DataFrame(rows, columns=["text", "label"]).sample(frac=1, random_state=5).reset_index(drop=True)
    return frame.assign(id=frame.index)[["id", "text", "label"]]


@pytest.mark.parametrize("stratify", [False, True])
def test_near_duplicates_never_straddle(stratify: bool) -> None:
    messages = near_duplicates(groups=60, singles=300)
    plain = split(messages, stratify=stratify)
    grouped = split(messages, stratify=stratify, group_duplicates=True)
    assert straddling_keys(plain)
    assert not straddling_keys(grouped)
    for name, rows in plain.report["rows"].items():
        assert abs(grouped.report["rows"][name] - rows) <= 3


def test_groups_are_found_in_every_split_and_not_only_in_train() -> None:
    messages = near_duplicates(groups=60, singles=300)
    splits = split(messages, group_duplicates=True)
    grouped = {name: int(table["text"].map(normalise).duplicated().sum()) for name, table in splits.tables().items()}
    assert all(count > 0 for count in grouped.values())


def test_a_group_with_two_labels_stays_together() -> None:
    messages = near_duplicates(groups=60, singles=300)
    messages.loc[::7, "label"] = "spam"
    assert not straddling_keys(split(messages, stratify=True, group_duplicates=True))


def test_a_group_larger_than_any_split_has_room_for_stays_together() -> None:
    messages = distinct(100)
    messages.loc[:79, "text"] = [f"Same text, number {row}" for row in range(80)]
    splits = split(messages, group_duplicates=True)
    assert not straddling_keys(splits)
    assert sum(splits.report["rows"].values()) == 100


def test_report_counts_what_straddles_by_hand() -> None:
    messages = distinct(60)
    order = messages.sample(frac=1, random_state=123)["id"].tolist()  # 42 train, 6 validation, 12 test
    messages.loc[order[42], "text"] = messages.loc[order[0], "text"]  # validation: an exact copy
    messages.loc[order[48], "text"] = messages.loc[order[1], "text"].upper() + "!"  # test: alike
    messages.loc[order[49], "text"] = messages.loc[order[1], "text"]  # test: an exact copy
    plain = {"near_duplicates": {"validation": 1, "test": 2}, "copies": {"validation": 1, "test": 1}}
    none = {"near_duplicates": {"validation": 0, "test": 0}, "copies": {"validation": 0, "test": 0}}
    assert split(messages).report["straddling"] == {"made": plain, "plain": plain}
    assert split(messages, group_duplicates=True).report["straddling"] == {"made": none, "plain": plain}


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("group_duplicates", [False, True])
def test_copies_from_oversampling_go_to_train_alone(stratify: bool, group_duplicates: bool) -> None:
    original = distinct(200, ham=9, spam=1)
    messages = balance_messages(original, method="oversample", seed=123).balanced
    splits = split(messages, stratify=stratify, group_duplicates=group_duplicates)
    held_out = [*splits.validation["id"], *splits.test["id"]]
    assert len(held_out) == len(set(held_out)) == 60
    assert not set(held_out) & set(splits.train["id"])
    in_train = set(original["id"]) - set(held_out)
    expected = messages[messages["id"].isin(in_train)]["id"].value_counts().to_dict()
    assert splits.train["id"].value_counts().to_dict() == expected
    assert max(expected.values()) == 9  # the copies are there
    assert splits.report["rows"]["train"] == len(splits.train) > 140


def test_copies_in_train_are_shuffled_apart() -> None:
    messages = balance_messages(distinct(200, ham=9, spam=1), method="oversample", seed=123).balanced
    labels = split(messages, stratify=True).train["label"]
    assert {"ham", "spam"} == set(labels[:20]) == set(labels[-20:])


def test_a_label_with_two_messages_is_refused() -> None:
    messages = distinct(60)
    messages.loc[[7, 30], "label"] = "rare"
    with pytest.raises(LabelError, match=r"label 'rare' has 2 messages, too few .* merge it .* remove it"):
        split(messages, stratify=True)


def test_without_stratify_the_sentence_names_it() -> None:
    messages = distinct(60)
    messages.loc[[7, 30, 31], "label"] = "rare"
    with pytest.raises(LabelError, match=r"label 'rare' has 3 messages.* switch split\.stratify on"):
        split(messages)


def test_a_label_of_near_duplicates_is_refused_and_said_to_be_one() -> None:
    messages = distinct(60)
    messages.loc[[7, 30, 31, 40], "label"] = "rare"
    messages.loc[[7, 30, 31, 40], "text"] = ["win now", "Win now!", "WIN 2 now", "win... now"]
    with pytest.raises(LabelError, match=r"'rare' has 4 messages \(1 if near-duplicates are counted once\)"):
        split(messages, stratify=True, group_duplicates=True)


def test_a_tiny_label_with_three_groups_gets_one_into_each_split() -> None:
    for seed in range(20):  # whatever the order in which the groups' turns come
        messages = distinct(60)
        messages.loc[[7, 30, 31, 40, 41], "label"] = "rare"
        messages.loc[[30, 31, 40], "text"] = ["win now", "Win now!", "WIN 2 now"]
        report = split(messages, stratify=True, group_duplicates=True, seed=seed).report
        assert all(report["labels"][name]["rare"] >= 1 for name in ("train", "validation", "test"))


def test_fractions_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"must sum to 1, not 1\.1"):
        split(distinct(60), test=0.3)


@pytest.fixture(scope="module")
def book_messages(sms_file: Path) -> pd.DataFrame:
    """The 747 + 747 messages of the published procedure."""
    how = How(format="tsv", quoting="csv")
    source = DataFile(sms_file, sms_file.name)
    parsed = read_messages(source, how, text_column=1, label_column=0, empty_text="error").frame()
    return balance_messages(parsed, method="undersample", seed=123).balanced


@pytest.mark.data
def test_book_settings_on_the_real_file(book_messages: pd.DataFrame) -> None:
    report = split(book_messages).report
    assert report["rows"] == {"train": 1045, "validation": 149, "test": 300}
    plain = {"near_duplicates": {"validation": 18, "test": 51}, "copies": {"validation": 13, "test": 37}}
    assert report["straddling"] == {"made": plain, "plain": plain}


@pytest.mark.data
def test_better_settings_on_the_real_file(book_messages: pd.DataFrame) -> None:
    splits = split(book_messages, stratify=True, group_duplicates=True)
    assert splits.report["rows"] == {"train": 1045, "validation": 149, "test": 300}
    assert splits.report["labels"] == {
        "train": {"ham": 522, "spam": 523},
        "validation": {"ham": 74, "spam": 75},
        "test": {"ham": 151, "spam": 149},
    }
    assert not straddling_keys(splits)
    none = {"validation": 0, "test": 0}
    assert splits.report["straddling"]["made"] == {"near_duplicates": none, "copies": none}
