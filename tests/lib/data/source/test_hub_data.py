"""Data sets on a hub, and single files there: which files, of which commit, and what is said where there are none."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pandas as pd
import pytest

from lib.data.parts import load_parts
from lib.data.source.download import Download, download, identity
from lib.data.source.hub import Repository
from lib.data.source.hub_data import PARQUET_BRANCH, chosen_splits, commit_of, find_splits
from lib.data.tables import MESSAGES
from lib.errors import SourceError
from lib.progress import silent
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import build_recipe as build
from lib.store.artifacts import Artifact
from tasks.engine.step import DeclaredFields, Work
from tasks.steps.classify.messages import messages
from tasks.steps.download import download as step
from tests.support.hub_server import TOKEN, HubServer, hub_for
from tests.support.recipes import build_recipe

NAME = "somebody/reviews"


def parquet(*texts: str) -> bytes:
    written = io.BytesIO()
    labels = [("ham", "spam")[number % 2] for number in range(len(texts))]
    pd.DataFrame({"text": texts, "label": labels}).to_parquet(written)
    return written.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with hub_for(monkeypatch, tmp_path) as server:
        yield server


def put(hub: HubServer, files: dict[str, bytes], **more: Any) -> str:
    return hub.add(f"datasets/{NAME}", files, **more)


def splits(hub: HubServer, *names: str, readme: str = "", configuration: str | None = None) -> dict[str, list[str]]:
    """The splits of a repository with these files."""
    files = dict.fromkeys(names, b"") | ({"README.md": readme.encode()} if readme else {})
    commit = put(hub, files)
    return find_splits(Repository(NAME, commit, "dataset"), commit, configuration)


def refusal(hub: HubServer, *names: str, **more: Any) -> str:
    with pytest.raises(SourceError) as caught:
        splits(hub, *names, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Which files


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train.csv", "test.csv", "README.md", ".gitattributes"], {"train": ["train.csv"], "test": ["test.csv"]}),
        (
            ["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/val-0.parquet"],
            {
                "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                "validation": ["data/val-0.parquet"],
            },
        ),
        (["reviews.jsonl", "script.py"], {"train": ["reviews.jsonl"]}),
        (["train.parquet", "train.csv", "test.csv"], {"train": ["train.parquet"]}),
        (
            ["default/train/0000.parquet", "default/unsupervised/0000.parquet", "default/partial-test/0000.parquet"],
            {
                "train": ["default/train/0000.parquet"],
                "unsupervised": ["default/unsupervised/0000.parquet"],
                "test": ["default/partial-test/0000.parquet"],
            },
        ),
    ],
)
def test_names_say_the_splits(hub: HubServer, names: list[str], found: dict[str, list[str]]) -> None:
    assert splits(hub, *(name for name in names if name != "README.md"), readme="# Reviews") == found


README = """---
license: mit
configs:
- config_name: en
  default: true
  data_files:
  - split: train
    path: "en/part-*.csv"
  - split: held_out
    path: [en/other.csv, "en/**/more.csv"]
- config_name: de
  data_dir: de
  data_files: "*.csv"
---
# Reviews
"""
FILES = (
    "en/part-1.csv",
    "en/part-0.csv",
    "en/other.csv",
    "en/deep/more.csv",
    "en/not.csv",
    "de/train.csv",
    "de/test.csv",
)


def test_readme_names_the_files_of_a_configuration(hub: HubServer) -> None:
    english = {"train": ["en/part-0.csv", "en/part-1.csv"], "held_out": ["en/other.csv", "en/deep/more.csv"]}
    assert splits(hub, *FILES, readme=README) == english
    assert splits(hub, *FILES, readme=README, configuration="en") == english
    german = {"test": ["de/test.csv"], "train": ["de/train.csv"]}
    assert splits(hub, *FILES, readme=README, configuration="de") == german


def test_a_configuration_must_be_one_of_the_repositorys(hub: HubServer) -> None:
    assert refusal(hub, *FILES, readme=README, configuration="fr") == (
        f"{NAME} has no configuration 'fr': set data.configuration to one of 'en', 'de'"
    )
    several = README.replace("  default: true\n", "")
    assert refusal(hub, *FILES, readme=several) == (
        f"{NAME} has several configurations: set data.configuration to one of 'en', 'de'"
    )
    folders = [f"{name}/train/0000.parquet" for name in ("cola", "sst2")]
    assert refusal(hub, *folders) == (
        f"{NAME} has several configurations: set data.configuration to one of 'cola', 'sst2'"
    )
    assert splits(hub, *folders, configuration="sst2") == {"train": ["sst2/train/0000.parquet"]}
    assert "set data.configuration to one of 'cola', 'sst2'" in refusal(hub, *folders, configuration="mnli")


@pytest.mark.parametrize("readme", ["---\nconfigs: [\n---\n", "---\nconfigs: 7\n---\n", "no front matter"])
def test_a_readme_that_says_nothing_is_passed_over(hub: HubServer, readme: str) -> None:
    assert splits(hub, "train.csv", readme=readme) == {"train": ["train.csv"]}


def test_a_repository_without_data_says_so(hub: HubServer) -> None:
    assert "has no data file that is read here" in refusal(hub, "script.py", "image.png")


FOUND = {"train": ["a"], "dev": ["b"], "test": ["c"], "extra": ["d"]}


def test_splits_are_chosen_by_their_names_or_as_wanted() -> None:
    assert chosen_splits(FOUND, {}, NAME) == {"train": ["a"], "validation": ["b"], "test": ["c"]}
    assert chosen_splits(FOUND, {"train": "extra", "test": "dev"}, NAME) == {"train": ["d"], "test": ["b"]}
    assert chosen_splits({"all": ["a"]}, {}, NAME) == {"train": ["a"]}
    with pytest.raises(SourceError, match=r"has no split 'valid': set data\.splits to some of 'train', 'dev'"):
        chosen_splits(FOUND, {"train": "train", "validation": "valid"}, NAME)
    with pytest.raises(SourceError, match=r"no split that is called train: set data\.splits\.train to one of 'a', 'b'"):
        chosen_splits({"a": [], "b": []}, {}, NAME)


# Which commit


def test_a_branch_stands_for_its_commit_and_a_commit_asks_nobody(hub: HubServer) -> None:
    first = put(hub, {"train.csv": b"1"})
    second = put(hub, {"train.csv": b"2"})
    assert commit_of(Repository(NAME, None, "dataset")) == second
    hub.requests.clear()
    assert commit_of(Repository(NAME, first, "dataset")) == first
    assert hub.requests == []


def test_without_data_files_the_hubs_parquet_branch_is_read(hub: HubServer) -> None:
    main = put(hub, {"reviews.py": b"no code of a repository is run"})
    converted = put(hub, {"default/train/0000.parquet": b""}, revision=PARQUET_BRANCH)
    assert commit_of(Repository(NAME, None, "dataset")) == converted
    assert commit_of(Repository(NAME, "main", "dataset")) == main


def test_a_data_set_that_is_not_there_is_said_in_the_words_of_the_recipe(hub: HubServer) -> None:
    with pytest.raises(SourceError, match=r"there is no such repository, .*; check data\.repository or the address"):
        commit_of(Repository("somebody/nothing", None, "dataset"))
    put(hub, {"train.csv": b""})
    with pytest.raises(SourceError, match=r"there is no such revision; check data\.revision"):
        commit_of(Repository(NAME, "v9", "dataset"))


def test_offline_the_cache_answers(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = put(hub, {"train.csv": b""})
    unknown = Repository(NAME, None, "dataset")
    find_splits(unknown, commit, None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert commit_of(unknown) == commit
    with pytest.raises(SourceError, match=r"HF_HUB_OFFLINE is set: set data\.revision"):
        commit_of(Repository("somebody/other", None, "dataset"))


# Single files


def fetched(address: str, folder: Path) -> Download:
    return download([address], folder / "into", scratch=folder / "scratch")


def test_a_file_of_a_data_set_has_an_address(hub: HubServer, tmp_path: Path) -> None:
    commit = put(hub, {"data/train.csv": b"text,label\n", "data/test.parquet": parquet("a")}, revision="refs/pr/1")
    for revision in (commit, "refs%2Fpr%2F1"):
        address = f"hf://datasets/{NAME}@{revision}/data/train.csv"
        assert fetched(address, tmp_path).file.read_bytes() == b"text,label\n"
        told = identity([address], member=None, sha256=None, ending_counts=True)
        assert told == {"addresses": address, "commit": commit, "ending": ".csv"}
    large = fetched(f"hf://datasets/{NAME}@{commit}/data/test.parquet", tmp_path)
    assert large.file.read_bytes() == parquet("a")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (f"hf://datasets/{NAME}/none.csv", "it has no none.csv; choose another revision, or another file"),
        (f"hf://datasets/{NAME}", "is no address of a file on a hub"),
        ("hf://somebody/model/config.json", "is no address of a file on a hub"),
        ("hf://datasets/somebody/nothing/a.csv", "there is no such repository"),
    ],
)
def test_a_file_that_is_not_there_is_named(hub: HubServer, tmp_path: Path, address: str, why: str) -> None:
    put(hub, {"train.csv": b""})
    with pytest.raises(SourceError, match=why) as caught:
        fetched(address, tmp_path)
    assert not caught.value.temporary


def test_a_file_that_is_too_large_is_refused_before_it_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    commit = put(hub, {"train.csv": b"x" * 1000})
    address = f"hf://datasets/{NAME}@{commit}/train.csv"
    with pytest.raises(SourceError, match="is larger than"):
        download([address], tmp_path / "into", scratch=tmp_path / "scratch", size_limit=999)
    assert {request.method for request in hub.requests} == {"HEAD"}


def test_a_token_is_for_those_who_ask_for_it_and_is_told_nobody(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="lib")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    commit = put(hub, {"train.csv": b"private"}, private=True)
    found = fetched(f"hf://datasets/{NAME}@{commit}/train.csv", tmp_path)
    assert found.file.read_bytes() == b"private"
    assert TOKEN not in found.address + caplog.text


# As a run's source


def run(folder: Path, recipe: Any) -> Artifact:
    folder.mkdir()
    fields: Any = DeclaredFields(recipe, [*step.reads, *step.unkeyed], step.name)
    scratch = folder.with_name(f"{folder.name}-scratch")
    told = step.ingredients(recipe, {})["identity"]
    step.compute(Work(fields, {}, folder, scratch, logging.getLogger("test"), silent, tracking_run="", identity=told))
    return Artifact(step="download", key="k", digest="d").in_folder(folder)


@pytest.fixture
def commit(hub: HubServer) -> str:
    return put(
        hub,
        {
            "data/train-00000-of-00002.parquet": parquet("a", "b"),
            "data/train-00001-of-00002.parquet": parquet("c", "d"),
            "data/dev-00000-of-00001.parquet": parquet("e", "f"),
        },
    )


def test_a_data_set_is_fetched_by_its_splits_and_known_by_its_commit(commit: str, tmp_path: Path) -> None:
    recipe = build_recipe({"data": {"source": "hub", "repository": NAME}})
    assert step.ingredients(recipe, {})["identity"] == {
        "repository": NAME,
        "commit": commit,
        "configuration": "",
        "splits": '""',
    }
    source = run(tmp_path / "download", recipe)
    assert sorted(path.name for path in source.file("data").iterdir()) == [
        "train-0.parquet",
        "train-1.parquet",
        "validation-0.parquet",
    ]
    folder = tmp_path / "messages"
    folder.mkdir()
    fields: Any = DeclaredFields(recipe, [*messages.reads, *messages.unkeyed], messages.name)
    work: Work[Any] = Work(fields, {}, folder, folder, logging.getLogger("test"), silent, tracking_run="")
    messages.compute(work, download=source)
    assert load_parts(folder / "messages", MESSAGES)["text"].tolist() == ["a", "b", "c", "d"]
    assert load_parts(folder / "validation", MESSAGES)["text"].tolist() == ["e", "f"]


def test_wanted_splits_and_revisions_are_in_the_key(commit: str, hub: HubServer, tmp_path: Path) -> None:
    def key(**data: Any) -> Any:
        recipe = build_recipe({"data": {"source": "hub", "repository": NAME, **data}})
        return step.ingredients(recipe, {})["identity"]

    wanted = {"train": "validation", "test": "train"}
    other = key(splits=wanted)
    assert other != key()
    assert key(revision=commit) == key(revision="main") == key()
    source = run(tmp_path / "d", build_recipe({"data": {"source": "hub", "repository": NAME, "splits": wanted}}))
    assert sorted(path.name for path in source.file("data").iterdir()) == [
        "test-0.parquet",
        "test-1.parquet",
        "train-0.parquet",
    ]


def test_instructions_are_read_from_the_splits_that_are_named(hub: HubServer, tmp_path: Path) -> None:
    put(hub, {"train.jsonl": b"1", "test.jsonl": b"2", "validation.jsonl": b"3"})

    def contents(name: str, **data: Any) -> list[bytes]:
        recipe = build({"data": {"source": "hub", "repository": NAME, **data}}, model=InstructRecipe)
        source = run(tmp_path / name, recipe)
        return [path.read_bytes() for path in sorted(source.file("data").iterdir())]

    assert contents("one") == [b"1"]
    assert contents("two", splits=["validation", "test"]) == [b"3", b"2"]
