"""Given splits through the steps: from their files to the evaluation, and the published ones of the real data."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.use_cases.facts import classifier_facts
from lib.data.parts import load_parts
from lib.data.tables import MESSAGES, SPLIT, SPLITS
from lib.errors import LabelError, MessagesError
from lib.evaluation.classify.findings import Findings
from lib.evaluation.flat import flatten_metrics
from lib.progress import NOBODY
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from tasks.engine.step import Step
from tasks.steps.backbone import backbone
from tasks.steps.classify.balance import balance
from tasks.steps.classify.cross_validate import cross_validate
from tasks.steps.classify.engine import engine
from tasks.steps.classify.evaluate import evaluate
from tasks.steps.classify.features import features
from tasks.steps.classify.finetune import finetune
from tasks.steps.classify.messages import messages
from tasks.steps.classify.split import split
from tasks.steps.classify.tokenize import tokenize
from tasks.steps.download import download
from tasks.steps.tokenizer import tokenizer
from tests.support.procedure import perform
from tests.support.recipes import build_recipe

DATA_STEPS = (download, messages, balance, split)
QUICK: dict[str, Any] = {
    "training": {"epochs": 1, "batch_size": 4, "device": "cpu"},
    "evaluation": {"baseline": False},
    "encoding": {"max_length": 12},
}
Row = tuple[str, str]  # label, text


def written(file: Path, rows: Sequence[Row], header: Row = ("label", "text")) -> str:
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return str(file)


def made_by(
    store: FolderStore,
    steps: Sequence[Step],
    files: dict[str, Any],
    data: dict[str, Any] | None = None,
    **sections: Any,
) -> dict[str, Artifact]:
    """The artifacts of these steps by name, `holdout` being the split's: no frozen test set is there."""
    recipe = build_recipe({"data": {"files": files, **(data or {})}, **sections})
    made: dict[str, Artifact] = {}
    for step in steps:
        made[step.name] = perform(store, recipe, step, **{name: made[name] for name in step.inputs})
        if step is split:
            made["holdout"] = made["split"]
    return made


def tables(made: dict[str, Artifact]) -> dict[str, pd.DataFrame]:
    return {name: load_parts(made["split"].file(name), SPLIT) for name in SPLITS}


def rows_of(table: pd.DataFrame) -> list[Row]:
    return list(zip(table["label"], table["text"], strict=True))


def numbered(label: str, count: int, letter: str) -> list[Row]:
    """Messages of which no two are near-duplicates."""
    return [(label, f"{letter} {chr(97 + number // 26)}{chr(97 + number % 26)}") for number in range(count)]


TRAIN = [*numbered("ham", 24, "lunch"), *numbered("news", 12, "paper"), *numbered("spam", 12, "prize")]
TEST = [("spam", "prize seventy"), ("ham", "lunch sixty"), ("ham", "Lunch, aa!"), ("spam", "prize eighty")]


def test_a_given_test_set_arrives_in_the_evaluation_as_it_is(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unheard = nullcontext(NOBODY)  # no MLflow run is there to hear of the training
    monkeypatch.setattr("tasks.steps.together.watched", lambda *_: unheard)
    files = {
        "train": [written(tmp_path / "a.csv", TRAIN[:30]), written(tmp_path / "b.csv", TRAIN[30:])],
        "test": written(tmp_path / "t.csv", TEST),
    }
    steps = (*DATA_STEPS, tokenizer, tokenize, backbone, features, finetune, engine, cross_validate, evaluate)
    made = made_by(store, steps, files, balance={"method": "undersample"}, **QUICK)

    # Only train was balanced; the reserve is train's.
    drawn = load_parts(made["balance"].file("balanced"), MESSAGES)
    assert drawn["label"].value_counts().to_dict() == {"ham": 12, "news": 12, "spam": 12}
    assert set(load_parts(made["balance"].file("reserve"), MESSAGES)["label"]) == {"ham"}

    predictions = pd.read_parquet(made["evaluate"].folder / "predictions")
    tested = predictions[predictions["split"] == "test"]
    assert rows_of(tested) == TEST
    assert tested["id"].tolist() == [48, 49, 50, 51]
    metrics = json.loads(made["evaluate"].file("metrics.json").read_text())
    assert metrics["test"]["rows"] == 4
    assert metrics["test"]["classes"]["news"]["rows"] == 0
    assert metrics["natural_prevalence"]["shares"] == {"ham": 0.5, "news": 0.0, "spam": 0.5}

    assert Findings.load(made["evaluate"].folder).given_test
    told = dict(classifier_facts(made, flatten_metrics(metrics), build_recipe({"data": {"files": files}})))
    assert told["split"].endswith(" validation, 4 test (given: test)")
    profile = json.loads(made["messages"].file("profile.json").read_text())
    assert (profile["rows"], profile["labels"]) == (52, {"ham": 26, "spam": 14, "news": 12})


def test_a_split_that_is_given_is_not_balanced_and_its_near_duplicates_stay(
    store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        "train": written(tmp_path / "a.csv", TRAIN),
        "validation": written(tmp_path / "v.csv", [*TEST, ("ham", "lunch fifty")]),
        "test": written(tmp_path / "t.csv", TEST),
    }
    made = made_by(store, DATA_STEPS, files, balance={"method": "oversample"})
    found = tables(made)
    assert {name: len(table) for name, table in found.items()} == {"train": 72, "validation": 5, "test": 4}
    assert rows_of(found["test"]) == TEST
    report = json.loads(made["split"].file("split.json").read_text())
    assert report["given"] == ["validation", "test"]
    assert report["straddling"]["made"]["near_duplicates"] == {"validation": 1, "test": 1}
    assert caplog.messages == [
        f"1 of the {rows} messages of the given {name} split have a near-duplicate in train, which stays:"
        " split.near_duplicates drop_from_train takes it out of train"
        for name, rows in (("validation", 5), ("test", 4))
    ]


def test_one_file_in_several_pieces_gives_the_messages_of_the_whole(store: FolderStore, tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.csv", TRAIN)
    pieces = [written(tmp_path / f"{number}.csv", TRAIN[4 * number : 4 * number + 4]) for number in range(12)]
    digests = {made_by(store, (download, messages), {"train": files})["messages"].digest for files in (whole, pieces)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("rows", "header", "error", "sentence"),
    [
        (TEST, ("kind", "text"), MessagesError, r"^t\.csv has no column 'label', only 'kind', 'text': "),
        ([("ham", "")], ("label", "text"), MessagesError, r"^t\.csv: row 0 \(counted from 0\) has an empty text"),
        ([("eggs", "x")], ("label", "text"), LabelError, r"^t\.csv: no message of train has the label 'eggs', so test"),
    ],
)
def test_what_is_wrong_with_a_given_file_is_said_of_that_file(
    store: FolderStore, tmp_path: Path, rows: list[Row], header: Row, error: type[Exception], sentence: str
) -> None:
    files = {"train": written(tmp_path / "a.csv", TRAIN), "test": written(tmp_path / "t.csv", rows, header)}
    with pytest.raises(error, match=sentence):
        made_by(store, (download, messages), files)


def test_two_files_of_one_name_are_told_apart_by_their_addresses(store: FolderStore, tmp_path: Path) -> None:
    paths = [written(tmp_path / folder / "data.csv", rows) for folder, rows in (("a", TRAIN), ("b", [("ham", "")]))]
    with pytest.raises(MessagesError) as refused:
        made_by(store, (download, messages), {"train": paths})
    assert str(refused.value).startswith(f"{paths[1]}: row 0 (counted from 0) has an empty text")


@pytest.mark.data
@pytest.mark.parametrize(
    ("files", "rows", "labels", "near_duplicates", "copies"),
    [
        (
            {"train": "trec-train.csv", "test": "trec-test.csv"},
            {"train": 4_770, "validation": 682, "test": 500},  # 5,452 divided 7:1
            6,
            {"validation": 0, "test": 11},
            {"validation": 0, "test": 9},
        ),
        (
            {"train": "sst2-train.csv", "validation": "sst2-dev.csv", "test": "sst2-test.csv"},
            {"train": 6_920, "validation": 872, "test": 1_821},
            2,
            {"validation": 1, "test": 2},
            {"validation": 0, "test": 2},
        ),
        (
            {"train": "banking77-train.csv", "test": "banking77-test.csv"},
            {"train": 8_752, "validation": 1_251, "test": 3_080},  # 10,003 divided 7:1
            77,
            {"validation": 0, "test": 28},
            {"validation": 0, "test": 7},
        ),
    ],
    ids=["TREC", "SST-2", "Banking77"],
)
def test_published_splits_are_read_as_they_are(
    store: FolderStore,
    real_data: Path,
    files: dict[str, str],
    rows: dict[str, int],
    labels: int,
    near_duplicates: dict[str, int],
    copies: dict[str, int],
) -> None:
    made = made_by(store, DATA_STEPS, {name: str(real_data / file) for name, file in files.items()})
    found = tables(made)
    report = json.loads(made["split"].file("split.json").read_text())
    assert report["rows"] == {name: len(table) for name, table in found.items()} == rows
    assert len(report["labels"]["test"]) == labels
    assert min(report["labels"]["test"].values()) > 0
    assert report["straddling"]["made"] == {"near_duplicates": near_duplicates, "copies": copies}
    published = {name: pd.read_csv(real_data / file, keep_default_na=False) for name, file in files.items()}
    assert rows_of(found["test"]) == rows_of(published["test"])
    for name in ("train", "validation"):
        if name in files and "validation" in files:
            assert sorted(rows_of(found[name])) == sorted(rows_of(published[name]))
    ids = pd.concat([table["id"] for table in found.values()])
    assert sorted(ids) == list(range(sum(rows.values())))
