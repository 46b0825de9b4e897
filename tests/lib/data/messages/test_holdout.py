"""What is taken out of a split so that nobody learns from a frozen test set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.messages import holdout
from lib.data.messages.holdout import exclusion_digest, freezable, hold_out, ids_to_hold_out
from lib.data.messages.split import split_messages
from lib.data.parts import Parts
from lib.data.queries import Queries
from lib.data.tables import KEYED_SPLIT
from lib.errors import LabelError
from tests.support.keyed import keyed


def table(*rows: tuple[int, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "text", "label"])
    return frame.assign(target=(frame["label"] == "spam").astype("int64"))


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Parts]:
    tables = {
        "train": table(
            (4, "WIN 100 now!", "spam"), (1, "hello", "ham"), (1, "hello", "ham"), (7, "bye", "ham"), (9, "x", "spam")
        ),
        "validation": table((2, "see you", "ham"), (3, "call me", "spam"), (8, "Hello.", "ham")),
        "test": table((5, "win 7 now", "spam"), (6, "lunch?", "ham")),
    }
    return {name: keyed(rows, tmp_path / name) for name, rows in tables.items()}


REPORT: dict[str, Any] = {
    "rows": {"train": 5, "validation": 3, "test": 2},
    "labels": {"train": {"ham": 3, "spam": 2}, "validation": {"ham": 2, "spam": 1}, "test": {"ham": 1, "spam": 1}},
    "straddling": {"plain": {"copies": {}, "near_duplicates": {}}, "made": {}},
}


def test_near_duplicates_in_train_and_validation_are_found_and_test_is_left_alone(
    splits: dict[str, Parts],
) -> None:
    assert ids_to_hold_out(splits, ["HELLO 2!", "lunch", "nothing like it"]) == [1, 8]
    assert ids_to_hold_out(splits, []) == []


def test_the_digest_stands_for_what_is_excluded_and_nothing_has_a_name() -> None:
    assert exclusion_digest([]) == "none"
    assert exclusion_digest([1, 23]) != exclusion_digest([12, 3])
    assert len(exclusion_digest([1])) == 64


@pytest.fixture
def queries(tmp_path: Path) -> Iterator[Queries]:
    with Queries(tmp_path / "queries") as queries:
        yield queries


def test_what_is_left_keeps_its_order_and_is_counted_again(
    splits: dict[str, Parts], queries: Queries, tmp_path: Path
) -> None:
    left = hold_out(splits, tmp_path / "left", queries, REPORT, [1, 8], name="sms")
    tables = {name: Parts(tmp_path / "left" / name, KEYED_SPLIT) for name in splits}
    assert {table.labels for table in tables.values()} == {("ham", "spam")}
    assert {name: table.numbers("id").tolist() for name, table in tables.items()} == {
        "train": [4, 7, 9],
        "validation": [2, 3],
        "test": [5, 6],
    }
    assert left["held_out"] == {"train": 2, "validation": 1}  # rows: a repeated message counts each time
    assert left["rows"] == {"train": 3, "validation": 2, "test": 2}
    assert left["labels"]["train"] == {"ham": 1, "spam": 2}
    assert left["straddling"]["plain"] == REPORT["straddling"]["plain"]
    assert left["straddling"]["made"]["near_duplicates"] == {"validation": 0, "test": 1}
    assert left["straddling"]["made"]["copies"] == {"validation": 0, "test": 0}


def test_a_class_that_would_be_lost_is_an_error_that_says_what_to_do(
    splits: dict[str, Parts], queries: Queries, tmp_path: Path
) -> None:
    with pytest.raises(LabelError, match=r"validation has no message labelled 'spam' left without those of 'sms'") as e:
        hold_out(splits, tmp_path / "left", queries, REPORT, [3], name="sms")
    assert "(1 of its 3): use the split.seed" in str(e.value)


def test_only_test_messages_that_the_run_did_not_learn_from_can_be_frozen(splits: dict[str, Parts]) -> None:
    assert freezable(splits)[["id", "text", "label"]].to_dict("records") == [
        {"id": 6, "text": "lunch?", "label": "ham"}
    ]


def test_of_many_messages_a_sample_is_frozen_with_enough_of_rare_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ["ham"] * 50 + ["spam"] * 3
    test = pd.DataFrame({"id": range(53), "text": [f"{'a' * row} b" for row in range(53)], "label": labels})
    made = {
        name: keyed(test[:0] if name != "test" else test, tmp_path / name) for name in ("train", "validation", "test")
    }
    assert len(freezable(made)) == 53
    monkeypatch.setattr(holdout, "MOST_FROZEN", 10)
    monkeypatch.setattr(holdout, "LEAST_OF_LABEL", 2)
    frozen = freezable(made)
    assert 10 <= len(frozen) <= 12
    assert (frozen["label"] == "spam").sum() >= 2
    assert frozen["id"].is_monotonic_increasing
    fewer = keyed(test.drop(index=int(frozen["id"].iloc[0])).reset_index(drop=True), tmp_path / "fewer")
    assert len(set(freezable({**made, "test": fewer})["text"]) ^ set(frozen["text"])) <= 3  # all others stay


@pytest.mark.parametrize("group_duplicates", [True, False])
def test_the_run_that_froze_its_test_split_needs_nothing_taken_out(group_duplicates: bool, tmp_path: Path) -> None:
    texts = [f"{word} {'!' * (row % 3)}" for row, word in enumerate("abcdefghijklmnopqrstuvwxyz" * 8)]
    messages = pd.DataFrame({"id": range(len(texts)), "text": texts, "label": ["ham", "spam"] * (len(texts) // 2)})
    tables = split_messages(
        messages, train=0.7, validation=0.1, test=0.2, seed=1, stratify=True, group_duplicates=group_duplicates
    ).tables()
    made = {name: keyed(table, tmp_path / name) for name, table in tables.items()}
    frozen = freezable(made)
    assert ids_to_hold_out(made, frozen["text"].tolist()) == []
    assert (len(frozen) == len(made["test"])) is group_duplicates
