"""Files that people really have, of ../shared/cases: what comes in place of data, archives and compressions."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from lib.data.source.download import Download, download
from lib.data.source.kinds import head_of, kind_of
from lib.errors import ArchiveError, FinetuneError, MessagesError

CASES = Path(__file__).parents[4].parent / "shared" / "cases"


def case(name: str, file: str) -> Path:
    path = CASES / name / file
    if not path.exists():
        pytest.skip(f"needs ../shared/cases/{name}")
    return path


def fetched(file: Path, folder: Path, member: str | None = None) -> Download:
    return download([str(file)], folder / "into", scratch=folder / "scratch", member=member)


def labels(found: Download) -> Counter[str]:
    with found.file.open(encoding="utf-8", newline="") as source:
        return Counter(row["label"] for row in csv.DictReader(source))


def refusal(file: Path, folder: Path, kind: type[FinetuneError]) -> str:
    with pytest.raises(kind) as caught:
        fetched(file, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("reviews.csv", "'reviews.csv' is a web page ('Sign in')"),
        ("train.parquet", "'train.parquet' is a Git LFS pointer to a file of 146.9 MB"),
        ("train.csv", "'train.csv' is a Git LFS pointer to a file of 146.9 MB"),
        ("train.jsonl", "`git lfs pull`"),
        ("page.json", "'page.json' is an error message of a server (Not Found)"),
    ],
)
def test_what_is_not_the_file(tmp_path: Path, file: str, what: str) -> None:
    assert what in refusal(case("14-not-the-file", file), tmp_path, MessagesError)


@pytest.mark.parametrize("file", ["tickets.xlsx", "tickets.csv"])
def test_a_workbook_is_passed_on_as_it_is(tmp_path: Path, file: str) -> None:
    source = case("15-excel-workbook", file)
    found = fetched(source, tmp_path)
    assert found.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    with found.file.open("rb") as content:
        assert kind_of(head_of(content)) == "workbook"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        *((f"r.csv.{ending}", "r.csv") for ending in ("gz", "bz2", "xz", "zst")),
        *((f"r.{ending}", "r.csv") for ending in ("tar", "tar.gz", "tar.bz2")),
        ("two.csv.gz", "two.csv"),
        ("wrong-ending.csv", "wrong-ending.csv"),
    ],
)
def test_every_compression_is_read(tmp_path: Path, file: str, name: str) -> None:
    found = fetched(case("17-other-compressions", file), tmp_path)
    assert found.file.name == name
    assert labels(found) == {"negative": 60, "positive": 60}


def test_a_gzip_file_that_is_cut_off_is_damaged(tmp_path: Path) -> None:
    file = case("17-other-compressions", "cut.csv.gz")
    assert refusal(file, tmp_path, ArchiveError).startswith("'cut.csv.gz' is damaged")


def test_train_and_test_in_one_zip_are_listed_and_chosen(tmp_path: Path) -> None:
    file = case("18-zip-members", "data.zip")
    assert "has several files ('train.csv', 'test.csv', 'README.md')" in refusal(file, tmp_path, ArchiveError)
    assert labels(fetched(file, tmp_path, member="train.csv")) == {"negative": 60, "positive": 60}


def test_a_zip_with_a_password_and_a_zip_in_a_zip_are_named(tmp_path: Path) -> None:
    assert "'train.csv' of 'locked.zip' is encrypted" in refusal(
        case("18-zip-members", "locked.zip"), tmp_path, ArchiveError
    )
    assert refusal(case("18-zip-members", "outer.zip"), tmp_path, ArchiveError).startswith(
        "'data.zip' in 'outer.zip' is an archive itself: unpack 'outer.zip'"
    )
