"""From the files of a run to a table for each split: the numbers of the rows, and what is wrong with which file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from lib.data import groups, parts
from lib.data.messages import files as module
from lib.data.messages.files import SplitsRead, read_splits
from lib.data.messages.labels import LabelRules
from lib.data.messages.reading import read_messages
from lib.data.source import delimited
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.data.tables import LEFT_OUT
from lib.errors import LabelError, MessagesError


def read(folder: Path, empty_text: Any = "drop", **splits: str | list[str]) -> dict[str, pd.DataFrame]:
    """Reads the tables of `found`."""
    return tables(found(folder, empty_text, None, **splits))


def tables(read: SplitsRead) -> dict[str, pd.DataFrame]:
    return {split: pa.Table.from_batches(read.messages(split)).to_pandas() for split in read.splits}


def left_out(read: SplitsRead) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.Table.from_batches(read.left_out(), LEFT_OUT).to_pylist()
    return rows


def found(
    folder: Path, empty_text: Any = "drop", rules: Callable[[int], LabelRules] | None = None, **splits: Any
) -> SplitsRead:
    """Writes each split's rows of `label,text`, a file for each text, and reads them. A file is called after its split
    and its number."""
    files: dict[str, list[DataFile]] = {}
    for split, contents in splits.items():
        for number, rows in enumerate([contents] if isinstance(contents, str) else contents):
            file = folder / f"{split}-{number}"
            file.write_text(rows if "," not in rows else f"label,text\n{rows}")
            files.setdefault(split, []).append(DataFile(file, f"{file.name}.csv"))
    return read_splits(
        files,
        lambda file: read_messages(
            file,
            How(format="csv", quoting="csv"),
            text_column="text",
            label_column="label",
            empty_text=empty_text,
        ),
        scratch=folder / "scratch",
        rules=rules or (lambda splits: LabelRules()),
    )


def test_ids_count_the_rows_of_all_files_dropped_ones_included(tmp_path: Path) -> None:
    read = found(tmp_path, test="b,z\n", train=["a,one\na,\n", "b,two\n"], validation=["a,v\n", "b,\nb,w\n"])
    splits = tables(read)
    assert list(splits) == ["train", "validation", "test"]
    assert {name: table["id"].tolist() for name, table in splits.items()} == {
        "train": [0, 2],
        "validation": [3, 5],
        "test": [6],
    }
    assert splits["validation"]["text"].tolist() == ["v", "w"]
    assert {split: table["line"].tolist() for split, table in splits.items()} == {
        "train": [2, 2],
        "validation": [2, 3],
        "test": [2],
    }
    assert left_out(read) == [
        {"file": "train-0.csv", "row": 1, "line": 3, "reason": "empty text"},
        {"file": "validation-1.csv", "row": 0, "line": 2, "reason": "empty text"},
    ]


def test_a_file_of_train_may_have_one_label_if_train_has_two(tmp_path: Path) -> None:
    assert read(tmp_path, train=["ham,a\n", "spam,b\n"])["train"]["label"].tolist() == ["ham", "spam"]


def test_a_given_split_may_lack_a_label(tmp_path: Path) -> None:
    splits = read(tmp_path, train="ham,a\nspam,b\n", validation="ham,c\n", test="spam,d\n")
    assert set(splits["test"]["label"]) == {"spam"}


@pytest.mark.parametrize("empty_text", ["error", "drop"])
def test_one_label_is_not_enough(tmp_path: Path, empty_text: str) -> None:
    with pytest.raises(LabelError, match=r"^train-0\.csv: every message has the label 'ham'"):
        read(tmp_path, empty_text, train="ham,a\nham,b\n")
    with pytest.raises(LabelError, match=r"^train-0\.csv, train-1\.csv: every message has the label 'ham'"):
        read(tmp_path, empty_text, train=["ham,a\n", "ham,b\n"], test="ham,c\nspam,d\n")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_that_train_has_not_is_refused_with_its_file(tmp_path: Path, split: str) -> None:
    given: Any = {split: ["ham,c\n", "ham,d\neggs,e\n"]}
    with pytest.raises(LabelError) as refused:
        read(tmp_path, train="ham,a\nspam,b\n", **given)
    assert str(refused.value) == (
        f"{split}-1.csv: no message of train has the label 'eggs', so {split} cannot have it: add such messages to"
        " data.files.train, or remove them from this file"
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("ham,b\nham\n", "test-1.csv, line 3 (row 1) has 1 fields where the first line has 2"),
        ("ham,b\nham,\n", "test-1.csv: row 1 (counted from 0) has an empty text"),
        ("kind\tbody", "test-1.csv has no column 'text', only 'kind\\tbody'"),
    ],
)
def test_what_is_wrong_is_said_of_the_right_file(tmp_path: Path, rows: str, sentence: str) -> None:
    with pytest.raises(MessagesError) as refused:
        read(tmp_path, "error", train="ham,a\nspam,b\n", test=["spam,c\n", rows])
    assert str(refused.value).startswith(sentence)


def by_column(folder: Path, rows: str, **options: Any) -> SplitsRead:
    """Reads one file of `label,text,fold`, of which the last says the split."""
    file = folder / "all.csv"
    file.write_text(f"label,text,fold\n{rows}")
    return read_splits(
        {"train": [DataFile(file, "all.csv")]},
        lambda file: read_messages(
            file,
            How(format="csv", quoting="csv"),
            text_column="text",
            label_column="label",
            split_column="fold",
            empty_text="error",
        ),
        scratch=folder / "scratch",
        by_column=True,
        **options,
    )


ROWS = "ham,a,train\nspam,b,Train\nham,c,dev\nham,d,TEST\nspam,e, test\nham,f,train\n"


def test_a_column_says_which_split_a_row_belongs_to(tmp_path: Path) -> None:
    read = by_column(tmp_path, ROWS)
    assert {name: table["id"].tolist() for name, table in tables(read).items()} == {
        "train": [0, 1, 5],
        "validation": [2],
        "test": [3, 4],
    }
    assert list(tables(read)["test"].columns) == ["id", "text", "label", "line"]
    assert left_out(read) == []


def test_rows_of_no_split_are_left_out_if_the_recipe_says_what_splits_are_called(tmp_path: Path) -> None:
    read = by_column(tmp_path, f"{ROWS}ham,g,\nham,h,unlabelled\n", split_names={"test": ("TEST", "test")})
    assert left_out(read) == [
        {"file": "all.csv", "row": row, "line": row + 2, "reason": "split not in split.names"} for row in (6, 7)
    ]
    with pytest.raises(MessagesError, match=r"^all\.csv: the column of split\.column says .*'unlabelled' \(1\)"):
        by_column(tmp_path, f"{ROWS}ham,g,x\nham,i,x\nham,h,unlabelled\n")


def test_rows_in_many_parts_and_batches_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settled() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        read = by_column(tmp_path, f"{ROWS}ham,g,\n" * 3, split_names={"test": ("TEST", "test")})
        return {split: table.to_dict("records") for split, table in tables(read).items()}, left_out(read)

    whole = settled()
    monkeypatch.setattr(parts, "ROWS_PER_PART", 6)
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 4)
    monkeypatch.setattr(delimited, "BATCH_ROWS", 5)
    monkeypatch.setattr(delimited, "FIRST_ROWS", 5)
    assert settled() == whole
    assert [row["id"] for row in whole[0]["train"]] == [0, 1, 5, 7, 8, 12, 14, 15, 19]


def test_a_column_with_far_too_many_labels_is_refused_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WRITTEN", 3)
    assert read(tmp_path, train="a,x\nb,y\nc,z\na,w\n")["train"]["label"].nunique() == 3
    with pytest.raises(
        LabelError, match=r"^train-0\.csv has more than 3 different labels: is --data\.label_column another column\?$"
    ):
        read(tmp_path, train="a,x\nb,y\nc,z\nd,w\n")
    with pytest.raises(LabelError, match=r"is --data\.label_column or --split\.column another column\?$"):
        by_column(tmp_path, f"{ROWS}ham,g,x\n")


def test_labels_are_settled_over_all_files_and_what_leaves_is_named(tmp_path: Path) -> None:
    rules = LabelRules({"spam": ["junk"]}, rare="drop", rare_count=2)
    read = found(
        tmp_path,
        rules=lambda splits: rules,
        train=["ham,a\njunk ,b\n", "spam,c\nham,d\neggs,e\n"],
        test="ham,f\neggs,g\njunk,h\n",
    )
    assert read.labels == ("spam", "ham")
    assert tables(read)["train"][["id", "label"]].values.tolist() == [[0, "ham"], [1, "spam"], [2, "spam"], [3, "ham"]]
    assert tables(read)["test"][["id", "label"]].values.tolist() == [[5, "ham"], [7, "spam"]]
    assert left_out(read) == [
        {"file": "train-1.csv", "row": 2, "line": 4, "reason": "rare label"},
        {"file": "test-0.csv", "row": 1, "line": 3, "reason": "rare label"},
    ]
    assert read.warnings == [
        "1 label was written with spaces or invisible characters around it, which are trimmed: 'junk ' (1 row)",
        "label 'eggs' has fewer than 2 rows (1) and is left out",
    ]


def test_the_rules_may_depend_on_how_many_splits_are_made(tmp_path: Path) -> None:
    made: list[int] = []

    def rules(splits: int) -> LabelRules:
        made.append(splits)
        return LabelRules()

    found(tmp_path, rules=rules, train="ham,a\nspam,b\n")
    found(tmp_path, rules=rules, train="ham,a\nspam,b\n", test="ham,c\n")
    assert made == [3, 2]
