"""Messages whose label is wrong are found by classifiers that did not learn from them; the classifier on folds."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.classify import label_check
from lib.evaluation.classify.label_check import doubts_warning, load_label_check, load_spread
from lib.model.gpt2.sizes import GPTConfig
from lib.progress import silent
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from lib.store.warnings import warnings_of
from tasks.steps.classify.cross_validate import cross_validate
from tests.support.e2e import PROJECT
from tests.support.procedure import checkpoint, perform
from tests.support.steps import STEPS, WORDS, performed, recipe_for, write_data

WRONG = (10, 40, 71)  # rows, from 0, whose label is another than their words say
Recipe = Any


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 messages whose words say their label, three of them with another one; a blank line after the header."""
    file = write_data(tmp_path_factory.mktemp("data"), {})
    with file.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    for row in WRONG:
        rows[row][0] = "ham" if rows[row][0] != "ham" else "spam"
    file.write_text("\n".join([",".join(header), "", *(",".join(row) for row in rows)]) + "\n")
    return file


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderStore, Recipe, dict[str, Artifact]]:
    """What a classifier is trained from: its last block is to learn, and features of the others are kept."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "weights").mkdir()
    weights = checkpoint(folder / "weights", GPTConfig(context_length=32, emb_dim=32, n_heads=2, n_layers=2))
    store = FolderStore(folder / "store")
    recipe = recipe_for(data, weights)
    return store, recipe, performed(store, recipe, STEPS[:-1])


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training without Prefect's page."""
    monkeypatch.setattr("tasks.steps.classify.folds.progress_shown", lambda *_, **__: silent)


def with_folds(recipe: Recipe, folds: int | None = 3, **training: Any) -> Recipe:
    evaluation = recipe.evaluation.model_copy(update={"folds": folds})
    changed = recipe.training.model_copy(update=training)
    return recipe.model_copy(update={"evaluation": evaluation, "training": changed})


def doubted(store: FolderStore, recipe: Recipe, artifacts: dict[str, Artifact]) -> Artifact:
    return perform(store, recipe, cross_validate, **{name: artifacts[name] for name in cross_validate.inputs})


def test_wrong_labels_are_listed_first_with_their_place_in_the_file(
    made: tuple[FolderStore, Recipe, dict[str, Artifact]], data: Path
) -> None:
    artifact = doubted(*made)
    assert sorted(path.name for path in artifact.folder.iterdir()) == [
        "label_check.json",
        "manifest.json",
        "suspects.parquet",
        "warnings.json",
    ]
    table = pd.read_parquet(artifact.file("suspects.parquet"))
    assert len(table) == 120
    assert set(table["id"][:3]) == set(WRONG)
    lines = data.read_text().splitlines()
    for suspect in table.head(10).to_dict("records"):
        assert lines[suspect["line"] - 1] == f"{suspect['label']},{suspect['text']}"
        assert suspect["row"] == suspect["id"]
        assert suspect["file"] == data.name
    assert all(table["text"][row].split()[0] in WORDS[table["suggested"][row]] for row in range(len(WRONG)))
    check = load_label_check(artifact.folder)
    assert check.by == "logistic regression on frozen features"
    assert (check.rows, check.of_rows) == (120, 120)
    assert len(check.first) == 50
    assert check.accuracy > 0.9
    (warning,) = warnings_of([artifact])
    assert warning == doubts_warning(check)


def test_labels_are_mended_as_the_page_says(
    made: tuple[FolderStore, Recipe, dict[str, Artifact]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (PROJECT / "docs" / "choosing.md").read_text(encoding="utf-8")
    section = page[page.index("## Labels that are wrong") : page.index("## With a GPU")]
    look, mend = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    shutil.copy(doubted(*made).file("suspects.parquet"), tmp_path)
    shutil.copy(data, tmp_path / "messages.csv")
    monkeypatch.chdir(tmp_path)
    exec(look, {})
    table = pd.read_csv("look.csv", dtype={"right": "string"})
    table.loc[:2, "right"] = table.loc[:2, "suggested"]  # what a person types
    table.to_csv("look.csv", index=False)
    exec(mend, {})
    mended, source = (pd.read_csv(file, dtype="string", keep_default_na=False) for file in ("mended.csv", data))
    assert set(np.flatnonzero(mended["label"] != source["label"])) == set(WRONG)
    assert (mended["text"] == source["text"]).all()
    assert all(text.split()[0] in WORDS[label] for text, label in zip(mended["text"], mended["label"], strict=True))


def test_without_features_or_with_random_ones_n_grams_are_judged(
    made: tuple[FolderStore, Recipe, dict[str, Artifact]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_check, "MOST_LISTED", 40)  # of more messages, only the first are listed
    store, recipe, artifacts = made
    random = recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": "scratch"})})
    artifact = doubted(store, random, artifacts)
    check = load_label_check(artifact.folder)
    assert check.by == "logistic regression on character n-grams"
    assert len(pd.read_parquet(artifact.file("suspects.parquet"))) == 40
    assert check.rows == 120
    assert {suspect.id for suspect in check.first[:3]} == set(WRONG)


def test_only_with_folds_does_the_training_decide_the_key(
    made: tuple[FolderStore, Recipe, dict[str, Artifact]],
) -> None:
    _, recipe, artifacts = made
    inputs = {name: artifacts[name] for name in cross_validate.inputs}

    def key(folds: int | None, **training: Any) -> str:
        return key_of(cross_validate.ingredients(with_folds(recipe, folds, **training), inputs))

    assert key(None) == key(None, learning_rate=1e-4) == key(None, seed=5)
    assert len({key(None), key(3), key(4), key(3, learning_rate=1e-4), key(3, seed=5)}) == 5
    assert key(3) == key(3, checkpoint_every=7)


def test_the_classifier_itself_is_measured_on_folds(
    made: tuple[FolderStore, Recipe, dict[str, Artifact]], caplog: pytest.LogCaptureFixture
) -> None:
    store, recipe, artifacts = made
    caplog.set_level("INFO")
    artifact = doubted(store, with_folds(recipe, epochs=4), artifacts)
    found = load_spread(artifact.folder)
    assert found is not None
    assert len(found.accuracies) == 3
    assert found.mean == pytest.approx(sum(found.accuracies) / 3)
    assert found.mean > 0.8
    assert [message for message in caplog.messages if message.startswith("fold ")] == [
        f"fold {number} of 3: accuracy {100 * accuracy:.2f}%"
        for number, accuracy in enumerate(found.accuracies, start=1)
    ]
    check = load_label_check(artifact.folder)
    assert check.by == "the classifier, trained on each fold"
    assert check.accuracy == found.mean
    assert load_spread(doubted(store, recipe, artifacts).folder) is None
