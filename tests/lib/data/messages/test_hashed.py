"""Balances and splits by a hash: who stays where whatever becomes of the others, and that everything is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.data import groups, parts
from lib.data.messages.hashed import balance_by_hash, split_by_hash
from lib.data.messages.split import split_messages
from lib.data.parts import Parts
from lib.data.queries import Queries
from lib.data.tables import KEYED_MESSAGES, KEYED_SPLIT, SPLITS
from lib.errors import LabelError, RecipeError
from tests.support.keyed import keyed

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def messages(count: int) -> pd.DataFrame:
    """Texts of which each third one is a near-duplicate of the one before."""
    draw = np.random.default_rng(1)
    words = np.array(["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"])
    texts = [" ".join(draw.choice(words, 9)) for _ in range(count)]
    texts = [f"{texts[row - 1].upper()}!" if row % 3 == 2 else texts[row] for row in range(count)]
    return pd.DataFrame({"id": range(count), "text": texts, "label": np.where(draw.random(count) < 0.3, "spam", "ham")})


def split(frame: pd.DataFrame, folder: Path, **options: Any) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    folder.mkdir()
    (folder / "scratch").mkdir()
    given = {name: keyed(table, folder / f"given-{name}") for name, table in options.pop("given", {}).items()}
    table = keyed(frame, folder / "messages")
    defaults: dict[str, Any] = {"fractions": FRACTIONS, "seed": 123, "labels": ("ham", "spam"), "given": given}
    options = defaults | options
    with Queries(folder / "queries", megabytes=options.pop("megabytes", 64)) as queries:
        report = split_by_hash(table, folder / "made", queries, folder / "scratch", **options)
    return {name: Parts(folder / "made" / name, KEYED_SPLIT).frame() for name in SPLITS}, report


def test_a_row_that_comes_or_goes_moves_no_other(tmp_path: Path) -> None:
    frame = messages(600)
    whole, _ = split(frame, tmp_path / "whole")
    less, _ = split(frame.drop(index=300), tmp_path / "less")
    for name in SPLITS:
        assert less[name]["id"].tolist() == [each for each in whole[name]["id"] if each != 300]
    # The published procedure shuffles by number: of the others every third one is elsewhere.
    options: dict[str, Any] = {**FRACTIONS, "seed": 123, "stratify": True, "group_duplicates": True}
    before, after = (split_messages(each, **options).tables() for each in (frame, frame.drop(index=300)))
    place = {each: name for name in SPLITS for each in before[name]["id"]}
    assert sum(place[each] != name for name in SPLITS for each in after[name]["id"]) > 100


def test_every_message_is_in_one_split_and_near_duplicates_in_the_same(tmp_path: Path) -> None:
    frame = messages(3000)
    made, report = split(frame, tmp_path / "made")
    assert sorted(each for table in made.values() for each in table["id"]) == frame["id"].tolist()
    assert all(table["id"].is_monotonic_increasing for table in made.values())
    none = {"validation": 0, "test": 0}
    assert report["straddling"]["made"] == {"near_duplicates": none, "copies": none}
    assert report["straddling"]["plain"]["near_duplicates"]["test"] > 100
    assert report["rows"] == {name: len(table) for name, table in made.items()}
    assert report["labels"] == {
        name: {label: int((table["label"] == label).sum()) for label in ("ham", "spam")} for name, table in made.items()
    }
    for name, fraction in FRACTIONS.items():
        assert report["rows"][name] / 3000 == pytest.approx(fraction, abs=0.04)
        assert made[name]["target"].tolist() == (made[name]["label"] == "spam").astype(int).tolist()
    other, _ = split(frame, tmp_path / "other", seed=124)
    assert other["test"]["id"].tolist() != made["test"]["id"].tolist()


def test_the_same_bytes_and_counts_under_any_memory_and_however_a_table_lies_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = messages(1500)
    made, report = split(frame, tmp_path / "made")
    monkeypatch.setattr(parts, "ROWS_PER_PART", 400)
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 100)
    again, reported = split(frame, tmp_path / "again", megabytes=24)
    assert json.dumps(reported) == json.dumps(report)
    for name in SPLITS:
        pd.testing.assert_frame_equal(again[name], made[name])


def test_given_splits_stay_and_their_near_duplicates_are_counted_or_leave_train(tmp_path: Path) -> None:
    frame = messages(600)
    test = frame.iloc[[2, 5]].assign(id=[1000, 1001])  # each is a near-duplicate of two in the file
    kept, report = split(frame, tmp_path / "kept", given={"test": test})
    assert kept["test"]["id"].tolist() == [1000, 1001]
    assert report["straddling"]["made"]["near_duplicates"]["test"] > 0
    assert (report["given"], report["dropped_from_train"]) == (["test"], 0)
    dropped, report = split(frame, tmp_path / "dropped", given={"test": test}, near_duplicates="drop_from_train")
    assert report["dropped_from_train"] == 4
    assert report["straddling"]["made"]["near_duplicates"] == {"validation": 0, "test": 0}
    assert len(dropped["train"]) + len(dropped["validation"]) == 596


def test_only_train_has_the_copies_that_oversampling_made(tmp_path: Path) -> None:
    frame = messages(300)
    repeated = pd.concat([frame, frame[frame["label"] == "spam"]], ignore_index=True)
    made, _ = split(repeated, tmp_path / "made")
    for name in ("validation", "test"):
        assert made[name]["id"].is_unique
    spam = made["train"][made["train"]["label"] == "spam"]
    assert len(spam) == 2 * spam["id"].nunique()


def test_a_label_with_too_few_messages_says_what_to_do(tmp_path: Path) -> None:
    frame = messages(100)
    frame.loc[5, "label"] = "rare"
    with pytest.raises(LabelError, match=r"label 'rare' has 1 message.*set split\.method to published"):
        split(frame, tmp_path / "made", labels=("ham", "rare", "spam"))
    with pytest.raises(RecipeError, match="must sum to 1"):
        split(frame, tmp_path / "other", fractions={**FRACTIONS, "test": 0.3})


def balanced(frame: pd.DataFrame, folder: Path, method: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = keyed(frame, folder / "messages")
    balance_by_hash(table, folder, method=method, seed=123, labels=("ham", "spam"))
    made, reserve = (Parts(folder / name, KEYED_MESSAGES).frame() for name in ("balanced", "reserve"))
    return made, reserve


def test_undersampling_draws_the_same_messages_whatever_becomes_of_the_others(tmp_path: Path) -> None:
    frame = messages(600)
    frame.loc[frame.index % 3 == 0, "text"] = "the same text"  # copies are drawn one by one
    made, reserve = balanced(frame, tmp_path / "whole", "undersample")
    smallest = int(frame["label"].value_counts().min())
    assert made["label"].value_counts().to_dict() == {"ham": smallest, "spam": smallest}
    assert made["id"].is_monotonic_increasing
    assert reserve["id"].is_monotonic_increasing
    assert sorted([*made["id"], *reserve["id"]]) == frame["id"].tolist()
    assert 0 < (made[made["label"] == "ham"]["text"] == "the same text").sum() < smallest
    ham = frame[frame["label"] == "ham"]
    assert ham["id"][ham["id"].isin(made["id"])].mean() == pytest.approx(ham["id"].mean(), abs=40)  # of the whole file
    gone = int(made[(made["label"] == "ham") & (made["text"] != "the same text")]["id"].iloc[5])
    less, _ = balanced(frame.drop(index=gone), tmp_path / "less", "undersample")
    assert len(set(made["id"]) - set(less["id"]) - {gone}) == 0
    assert len(set(less["id"]) - set(made["id"])) == 1  # in its place


def test_oversampling_repeats_whole_classes_and_draws_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", 200)
    frame = messages(500)
    made, reserve = balanced(frame, tmp_path / "made", "oversample")
    sizes = frame["label"].value_counts()
    assert made["label"].value_counts().to_dict() == {"ham": sizes["ham"], "spam": sizes["ham"]}
    assert len(reserve) == 0
    times = made["id"].value_counts()
    assert set(times[frame[frame["label"] == "ham"]["id"]]) == {1}
    whole = sizes["ham"] // sizes["spam"]
    assert set(times[frame[frame["label"] == "spam"]["id"]]) == {whole, whole + 1}
    assert made["id"].is_monotonic_increasing
