"""The name that the download step keeps a file under, what that does to its key, and who reads the file."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.parts import load_parts
from lib.data.tables import MESSAGES
from lib.errors import ArchiveError, MessagesError, SourceError
from lib.progress import silent
from lib.recipes import reading
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from lib.store.warnings import warnings_of
from tasks.engine.step import DeclaredFields, Step, Work
from tasks.steps.classify.messages import messages
from tasks.steps.download import download
from tasks.steps.instruct.entries import entries
from tests.support.http_server import HttpServer
from tests.support.recipes import build_recipe

CONTENT = b"text,label\nhello,ham\nWIN NOW,spam\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetched(folder: Path, **data: Any) -> tuple[Any, Artifact]:
    """What a download with these fields has in its key beside its code, and the artifact's folder."""
    recipe = build_recipe({"data": data})
    ingredients = download.ingredients(recipe, {})
    folder.mkdir()
    download.compute(work(download, recipe, folder))
    return ingredients["identity"], Artifact(step="download", key="k", digest="d").in_folder(folder)


def work(step: Step, recipe: Any, folder: Path) -> Work[Any]:
    scratch = folder.with_name(f"{folder.name}-scratch")
    fields: Any = DeclaredFields(recipe, [*step.reads, *step.unkeyed], step.name)
    return Work(fields, {}, folder, scratch, logging.getLogger("test"), silent, tracking_run="")


def table(source: Artifact, folder: Path, **data: Any) -> pd.DataFrame:
    """The messages that the messages step makes of a download."""
    folder.mkdir()
    messages.compute(work(messages, build_recipe({"data": data}), folder), download=source)
    return load_parts(folder / "messages", MESSAGES)


def names(source: Artifact) -> list[str]:
    return [path.name for path in source.file("data").iterdir()]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The same messages under several names."""
    for name in ("a.csv", "b.txt", "plain", "other-plain"):
        (tmp_path / name).write_bytes(CONTENT)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(CONTENT))
    for name, member in {"d.zip": "in-d.csv", "e.zip": "in-e.tsv"}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, CONTENT)
    return {path.name: str(path) for path in tmp_path.iterdir()}


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_where_the_format_is_given_the_name_changes_nothing(
    tmp_path: Path, files: dict[str, str], sha256: str | None
) -> None:
    keys = []
    for name in ("a.csv", "b.txt", "plain"):
        key, source = fetched(tmp_path / f"of-{name}", url=files[name], format="csv", sha256=sha256)
        keys.append(key)
        assert names(source) == ["source"]
        assert json.loads(source.file("source.json").read_text())["source"]["name"] == name
    assert keys[0] == keys[1] == keys[2]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_where_the_ending_says_the_format_equal_keys_have_equal_files(
    tmp_path: Path, files: dict[str, str], sha256: str | None
) -> None:
    by_key: dict[str, set[str]] = {}
    for name, url in files.items():
        key, source = fetched(tmp_path / f"of-{name}", url=url, sha256=sha256)
        by_key.setdefault(json.dumps(key), set()).update(names(source))
    assert [len(found) for found in by_key.values()] == [1] * len(by_key)
    assert set().union(*by_key.values()) == {"source.csv", "source.txt", "source.tsv", "source"}


def test_a_given_format_has_another_key_than_the_ending(tmp_path: Path, files: dict[str, str]) -> None:
    for name, url in files.items():
        keys = [fetched(tmp_path / f"{name}-{format}", url=url, format=format)[0] for format in ("csv", None)]
        assert keys[0] != keys[1]


def test_the_same_pinned_file_has_the_same_name_whichever_address_answers(
    tmp_path: Path, files: dict[str, str]
) -> None:
    gone = str(tmp_path / "a.csv.gone")
    for number, urls in enumerate([[files["a.csv"], files["b.txt"]], [gone.removesuffix(".gone"), files["b.txt"]]]):
        if number == 1:
            Path(files["a.csv"]).rename(gone)
        key, source = fetched(tmp_path / str(number), url=urls, sha256=SHA256)
        assert (key, names(source)) == ({"sha256": SHA256, "ending": ".csv"}, ["source.csv"])


def test_a_file_that_is_none_of_ours_beside_the_source_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(CONTENT + CONTENT.partition(b"\n")[2] * 2)
    url = str(tmp_path / "mine.csv")
    _, source = fetched(tmp_path / "download", url=url)
    (source.file("data") / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert table(source, tmp_path / "messages", url=url)["text"].tolist() == ["hello", "WIN NOW"] * 3


def test_what_is_wrong_with_a_file_is_said_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(CONTENT + b"too short\n")
    url = str(tmp_path / "mine.csv")
    _, source = fetched(tmp_path / "download", url=url)
    with pytest.raises(MessagesError, match=r"^mine\.csv, line 4 "):
        table(source, tmp_path / "messages", url=url)


# Given splits


def given(folder: Path, **files: str | list[str]) -> tuple[Any, Artifact]:
    return fetched(folder, files=files)


def test_each_file_of_a_given_split_is_kept_with_its_own_name_and_address(
    tmp_path: Path, files: dict[str, str]
) -> None:
    key, source = given(tmp_path / "download", train=[files["a.csv"], files["d.zip"]], test=files["b.txt"])
    assert sorted(names(source)) == ["test-0.txt", "train-0.csv", "train-1.csv"]
    told = json.loads(source.file("source.json").read_text())
    assert [(place, facts["name"], facts["address"]) for place, facts in told.items()] == [
        ("train-0", "a.csv", files["a.csv"]),
        ("train-1", "in-d.csv", files["d.zip"]),
        ("test-0", "b.txt", files["b.txt"]),
    ]
    assert key["train-0 file_sha256"] == SHA256
    assert key["test-0 ending"] == ".txt"


def test_given_splits_are_identified_by_their_contents_and_not_by_their_place(
    tmp_path: Path, files: dict[str, str]
) -> None:
    other = tmp_path / "elsewhere.csv"
    other.write_bytes(Path(files["a.csv"]).read_bytes())
    test = tmp_path / "test.csv"
    test.write_bytes(CONTENT + b"hi,ham\n")
    here, _ = given(tmp_path / "1", train=files["a.csv"], test=str(test))
    there, _ = given(tmp_path / "2", train=str(other), test=str(test))
    turned, _ = given(tmp_path / "3", train=str(test), test=files["a.csv"])
    assert here == there != turned


def test_a_file_may_have_the_name_that_another_one_gets(tmp_path: Path) -> None:
    paths = [tmp_path / "first.csv", tmp_path / "train-0.csv"]
    for number, path in enumerate(paths):
        path.write_bytes(CONTENT + b"row %d,ham\n" % number)
    _, source = given(tmp_path / "download", train=[str(path) for path in paths])
    assert [source.file(f"data/train-{number}.csv").read_bytes() for number in (0, 1)] == [
        path.read_bytes() for path in paths
    ]


def parts(folder: Path, *names: str) -> Path:
    """A folder of files with two rows each."""
    folder.mkdir()
    for number, name in enumerate(names):
        (folder / name).write_bytes(b"text,label\nyes %d,ham\nno %d,spam\n" % (number, number))
    return folder


@pytest.mark.parametrize("field", ["url", "files"])
def test_a_folder_is_one_data_set_in_the_order_of_its_paths(tmp_path: Path, field: str) -> None:
    folder = parts(tmp_path / "export", "b.csv", "a.csv", "c.csv", "notes.md", "_SUCCESS", ".a.csv.crc")
    data: dict[str, Any] = {field: str(folder)}
    _, source = fetched(tmp_path / "download", **data)
    assert sorted(names(source)) == ["train-0.csv", "train-1.csv", "train-2.csv"]
    assert table(source, tmp_path / "messages", **data)["text"].tolist() == [
        "yes 1",
        "no 1",
        "yes 0",
        "no 0",
        "yes 2",
        "no 2",
    ]
    assert warnings_of([source]) == ["not read, because their names do not say how they are written: notes.md"]


def test_a_pattern_and_an_address_are_one_data_set_too(tmp_path: Path, files: dict[str, str]) -> None:
    folder = parts(tmp_path / "in", "part-1.csv", "part-0.csv", "other.csv")
    _, source = fetched(tmp_path / "download", files=[f"{folder}/part-*.csv", files["a.csv"]])
    told = json.loads(source.file("source.json").read_text())
    assert [facts["name"] for facts in told.values()] == ["part-0.csv", "part-1.csv", "a.csv"]


def test_the_key_of_several_files_is_made_of_their_contents(tmp_path: Path) -> None:
    folder = parts(tmp_path / "in", "a.csv", "b.csv")
    keys = [fetched(tmp_path / "1", url=str(folder))[0]]
    folder.rename(tmp_path / "moved")
    keys.append(fetched(tmp_path / "2", files=f"{tmp_path}/moved/*.csv")[0])
    (tmp_path / "moved" / "b.csv").write_bytes(b"text,label\nother,ham\n")
    keys.append(fetched(tmp_path / "3", url=f"{tmp_path}/moved")[0])
    assert keys[0] == keys[1] != keys[2]


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    folder = parts(tmp_path / "in", "a.csv", "b.csv")
    with pytest.raises(
        SourceError, match=r"in/a\.csv is named twice, in data\.files\.train and data\.files\.test: leave"
    ):
        given(tmp_path / "download", train=str(folder), test=f"{folder}/../in/a.csv")


@pytest.mark.parametrize(("field", "value"), [("sha256", SHA256), ("member", "a.csv")])
def test_what_is_about_one_file_is_refused_for_a_folder(tmp_path: Path, field: str, value: str) -> None:
    folder = parts(tmp_path / "in", "a.csv", "b.csv")
    with pytest.raises(SourceError, match=rf"data\.{field} is about one file, and data\.url, .*, stands for several"):
        fetched(tmp_path / "download", url=str(folder), **{field: value})


def test_a_list_of_addresses_that_may_be_meant_as_several_files_is_warned_of(
    tmp_path: Path, files: dict[str, str]
) -> None:
    _, source = fetched(tmp_path / "download", url=[files["a.csv"], files["b.txt"]])
    (warning,) = warnings_of([source])
    assert warning.endswith("only the first is read: to read all of them, name them in data.files")
    _, source = fetched(tmp_path / "pinned", url=[files["a.csv"], files["b.txt"]], sha256=SHA256)
    assert warnings_of([source]) == []


def test_splits_inside_one_archive_are_named_and_the_hint_works(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_bytes(b"text,label\n" + b"of %s,ham\nand,spam\n" % split.encode() * 2)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in ("train.csv", "test.csv"):
            archive.write(tmp_path / name, name)
    url = str(tmp_path / "data.zip")
    with pytest.raises(ArchiveError) as refused:
        fetched(tmp_path / "download", url=url)
    flag = "--data.members '{train: train.csv, test: test.csv}'"
    assert str(refused.value).endswith(
        f"choose one with --data.member NAME, or name them as the splits that they are: {flag}"
    )
    members = {"train": "train.csv", "test": "test.csv"}
    key, source = fetched(tmp_path / "both", url=url, members=members)
    assert sorted(names(source)) == ["test-0.csv", "train-0.csv"]
    assert (key["train-0 member"], key["test-0 member"]) == ("train.csv", "test.csv")
    assert table(source, tmp_path / "messages", url=url, members=members)["text"].tolist() == ["of train", "and"] * 2


def test_an_archive_of_several_files_among_others_is_to_be_unpacked(tmp_path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("train.csv", CONTENT)
        archive.writestr("test.csv", CONTENT)
    with pytest.raises(ArchiveError) as refused:
        fetched(tmp_path / "download", files=[files["a.csv"], str(tmp_path / "two.zip")])
    assert str(refused.value) == "'two.zip' has several files ('train.csv', 'test.csv'): unpack it and name its files"


def test_sparks_export_is_one_data_set(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3].parent / "shared" / "cases" / "26-parquet-folder" / "export.parquet"
    if not folder.is_dir():
        pytest.skip("needs ../shared/cases/26-parquet-folder")
    _, source = fetched(tmp_path / "download", url=str(folder))
    counts = table(source, tmp_path / "messages", url=str(folder))["label"].value_counts()
    assert counts.to_dict() == {"billing": 80, "delivery": 80, "technical": 80}


def test_several_files_of_instructions_are_one_data_set(tmp_path: Path) -> None:
    for name, instructions in {"a.jsonl": ["one", "two"], "b.jsonl": ["three"]}.items():
        lines = [json.dumps({"instruction": each, "output": "yes"}) for each in instructions]
        (tmp_path / name).write_text("\n".join(lines))
    recipe = reading.build_recipe({"data": {"files": [f"{tmp_path}/*.jsonl"]}}, model=InstructRecipe)
    folders = [tmp_path / "download", tmp_path / "entries"]
    for folder in folders:
        folder.mkdir()
    download.compute(work(download, recipe, folders[0]))
    source = Artifact(step="download", key="k", digest="d").in_folder(folders[0])
    entries.compute(work(entries, recipe, folders[1]), download=source)
    made = pd.read_parquet(folders[1] / "entries.parquet")
    assert made[["id", "instruction"]].to_numpy().tolist() == [[0, "one"], [1, "two"], [2, "three"]]


def test_a_missing_file_of_a_given_split_is_named_with_its_field(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(SourceError) as refused:
        given(tmp_path / "download", train=files["a.csv"], test=str(tmp_path / "none.csv"))
    assert str(refused.value) == (
        f"The source file cannot be fetched: {tmp_path / 'none.csv'} does not exist; check data.files.test"
    )


def test_a_file_of_a_given_split_that_a_server_has_not_can_be_fetched_by_hand(
    tmp_path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HttpServer() as server, pytest.raises(SourceError) as refused:
        given(tmp_path / "download", train=[files["a.csv"], server.url("/gone.csv")])
    assert str(refused.value).endswith(
        "check data.files.train, or fetch gone.csv by hand and name in data.files.train, instead of its address,"
        " file:///path/to/gone.csv"
    )
