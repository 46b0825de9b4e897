"""What a folder or a pattern stands for, and when that is not one data set."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from lib.data.source.places import Found, find_files
from lib.data.source.splits import as_flag, files_by_split, pattern_of, split_of
from lib.errors import SourceError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def find(given: str, *, by_split: bool = True) -> Found:
    return find_files(given, "data.url", by_split=by_split)


def refusal(given: str, *, by_split: bool = True) -> str:
    with pytest.raises(SourceError) as caught:
        find(given, by_split=by_split)
    return str(caught.value)


def test_a_folder_is_all_of_its_data_files_in_the_order_of_their_paths(folder: Path) -> None:
    touch("in/b.csv", "in/a.CSV", "in/deep/c.csv.gz", "in/B.csv")
    assert find("in").files == ("in/B.csv", "in/a.CSV", "in/b.csv", "in/deep/c.csv.gz")


def test_what_spark_and_macos_leave_beside_the_parts_is_none_of_them(folder: Path) -> None:
    touch("e.parquet/part-0.parquet", "e.parquet/part-1.parquet", "e.parquet/_SUCCESS", "e.parquet/.part-0.parquet.crc")
    touch("e.parquet/._part-0.parquet", "e.parquet/.DS_Store", "e.parquet/_temporary/part-2.parquet")
    assert find("e.parquet") == Found(("e.parquet/part-0.parquet", "e.parquet/part-1.parquet"))
    assert find(f"{folder}/e.parquet/").files == tuple(f"{folder}/e.parquet/part-{n}.parquet" for n in (0, 1))


def test_other_files_of_a_folder_are_named(folder: Path) -> None:
    touch("in/a.csv", "in/notes.md", "in/more/b.zip")
    assert find("in") == Found(("in/a.csv",), ("more/b.zip", "notes.md"))


def test_a_pattern_is_what_it_fits(folder: Path) -> None:
    touch("in/part-1", "in/part-0", "in/other", "in/deep/part-2", "in/_SUCCESS")
    assert find("in/part-*").files == ("in/part-0", "in/part-1")
    assert find("in/**/part-*").files == ("in/deep/part-2", "in/part-0", "in/part-1")
    assert find("i?").files == ("in/deep/part-2", "in/other", "in/part-0", "in/part-1")


def test_one_file_is_itself_whatever_its_name(folder: Path) -> None:
    touch("[a].csv", "what?.csv")
    for given in ("[a].csv", "what?.csv", "nowhere.csv", "https://example.org/a.csv?b=*", "x" * 5000, "a\0b"):
        assert find(given) == Found((given,))


def test_nothing_is_an_error(folder: Path) -> None:
    touch("empty/_SUCCESS")
    assert refusal("empty").startswith("there is no data file in the folder empty: names must end with .tsv, ")
    assert refusal("in/*.csv") == "no file fits the pattern in/*.csv: correct it; check data.url"


def test_too_many_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.data.source.places.MOST_FILES", 2)
    touch("in/a.csv", "in/b.csv", "in/c.csv")
    assert refusal("in") == "in stands for 3 files, and at most 2 are read: put them together"


def test_several_formats_may_be_the_same_rows_twice(folder: Path) -> None:
    touch("in/a.csv", "in/a.parquet")
    assert refusal("in") == (
        "the folder in has files of several formats (csv, parquet), perhaps with the same rows: say which with a"
        " pattern in data.url, such as in/*.csv"
    )


def test_splits_in_one_folder_are_not_mixed_and_the_way_out_works(folder: Path) -> None:
    touch("in/train-0.csv", "in/train-1.csv", "in/test.csv", "in/dev's.csv")
    said = refusal("in")
    assert said.startswith(
        "the folder in has files of train and validation and test (dev's.csv, test.csv, train-0.csv,"
    )
    _, flag = said.split(": name each split with ")
    name, value = shlex.split(flag)
    assert name == "--data.files"
    patterns = yaml.safe_load(value)
    assert {split: find(pattern).files for split, pattern in patterns.items()} == {
        "train": ("in/train-0.csv", "in/train-1.csv"),
        "validation": ("in/dev's.csv",),
        "test": ("in/test.csv",),
    }
    assert refusal("in", by_split=False).endswith("name the files to read in data.url")


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.csv", "train"),
        ("data/training_set.csv", "train"),
        ("Train-00000-of-00002.parquet", "train"),
        ("test/part-0.parquet", "test"),
        ("x_val.csv", "validation"),
        ("dev.tsv", "validation"),
        ("train_test.csv", None),
        ("trainer.csv", None),
        ("latest.csv", None),
    ],
)
def test_a_word_of_the_name_says_the_split(path: str, split: str | None) -> None:
    assert split_of(path) == split


def test_files_are_splits_only_if_train_is_one_of_several() -> None:
    assert files_by_split(["test.csv", "train.csv", "README"]) == {"train": ["train.csv"], "test": ["test.csv"]}
    assert files_by_split(["train-0.csv", "train-1.csv"]) == {}
    assert files_by_split(["test.csv", "dev.csv"]) == {}


def test_a_pattern_fits_no_other_file() -> None:
    assert pattern_of(["a.csv"], ["a.csv.gz"]) == "a.csv"
    assert pattern_of(["train-0", "train-1"], ["test"]) == "train-*"
    assert pattern_of(["x-train", "y-train"], ["test"]) is None


@pytest.mark.parametrize("path", ["a b.csv", "a: b.csv", "it's", 'say "x"', "-a", "{a}", "a, b", "#a", "c:\\d"])
def test_a_flag_is_read_as_it_was_meant(path: str) -> None:
    files = {"train": path, "test": "t*.csv"}
    (value,) = shlex.split(as_flag(files))
    assert yaml.safe_load(value) == files
