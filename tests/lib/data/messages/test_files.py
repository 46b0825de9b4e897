"""From the files of a run to a table for each split: the numbers of the rows, and what is wrong with which file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.messages.files import joined, read_splits
from lib.data.messages.reading import DROPPED, read_messages
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.errors import LabelError, MessagesError


def read(folder: Path, empty_text: Any = "drop", **splits: str | list[str]) -> dict[str, pd.DataFrame]:
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
    ).splits


def test_ids_count_the_rows_of_all_files_dropped_ones_included(tmp_path: Path) -> None:
    splits = read(tmp_path, test="b,z\n", train=["a,one\na,\n", "b,two\n"], validation=["a,v\n", "b,\nb,w\n"])
    assert list(splits) == ["train", "validation", "test"]
    assert {name: table["id"].tolist() for name, table in splits.items()} == {
        "train": [0, 2],
        "validation": [3, 5],
        "test": [6],
    }
    assert splits["validation"]["text"].tolist() == ["v", "w"]
    whole = joined(list(splits.values()))
    assert whole["id"].tolist() == [0, 2, 3, 5, 6]
    assert whole.attrs[DROPPED] == 2


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
