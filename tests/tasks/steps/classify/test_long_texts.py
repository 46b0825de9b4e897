"""Documents whose last sentence decides: what each way to read long texts makes of them, and that a classifier gives
the same probabilities wherever it answers."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient

from flows.http.app import Endpoints, application
from flows.http.batching import Manner, Turns
from flows.http.limits import Limits
from flows.http.measuring import Measured
from flows.http.metrics import Metrics
from flows.http.versions import Answering, Registered, Served
from lib.data.parts import load_parts
from lib.data.tables import SPLIT
from lib.data.tokens import load_tokens
from lib.evaluation.classify.findings import Findings
from lib.export.onnx import export_onnx
from lib.inference.predictor import Predictor
from lib.model.classifier import load_classifier
from lib.model.features.file import Features
from lib.model.features.inputs import split_inputs
from lib.model.labels import Probabilities
from lib.model.windowed import Windowed
from lib.progress import NOBODY
from lib.recipes.classify import ClassifyRecipe
from lib.scoring.inputs import find_inputs
from lib.scoring.parts import Output
from lib.scoring.places import Folder
from lib.scoring.result import Model
from lib.scoring.rows import Columns
from lib.scoring.score import score
from lib.serving.classifier import TextClassifier
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.long_texts import LongTexts
from lib.text.windows import Windows
from lib.training.classify.messages import Messages
from tasks.registry.models import Version
from tasks.steps.classify.cross_validate import cross_validate
from tasks.steps.classify.engine import engine
from tasks.steps.classify.evaluate import evaluate
from tasks.steps.classify.tokenize import tokenize
from tests.support.documents import documents, write_documents
from tests.support.procedure import perform
from tests.support.recipes import build_recipe
from tests.support.saved import write_engine_file, write_weights
from tests.support.steps import steps_until_trained
from tests.support.tokens import tokenized

pytestmark = pytest.mark.slow

Made = tuple[ClassifyRecipe, dict[str, Artifact]]
LENGTH = 32  # tokens of a row; the documents have 50 to 100
TRAINING = {"epochs": 10, "learning_rate": 3e-3, "evaluate_batches": 1}
WITHIN = 1e-5
UNSEEN = documents(100, seed=2)
LABELS = ("negative", "positive")
CASES = Path(__file__).parents[4].parent / "shared" / "cases"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """One store for all tests here, which share what is the same in their runs."""
    return FolderStore(tmp_path_factory.mktemp("shared") / "store")


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training without the pages of MLflow and Prefect."""
    monkeypatch.setattr("tasks.steps.together.watched", lambda *_: nullcontext(NOBODY))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents") / "documents.csv", 240)


def trained(store: FolderStore, data: Path, encoding: dict[str, Any], **more: Any) -> Made:
    sections = {"training": TRAINING, "serving": {"engine": "torch", "precision": "float32"}, **more}
    weights = sections.pop("weights", "scratch")
    return steps_until_trained(store, data, weights, encoding={"max_length": LENGTH, **encoding}, **sections)


def probabilities(predictor: Predictor, texts: list[str]) -> Probabilities:
    return np.array([list(each.probabilities.values()) for each in predictor.predict(texts)])


@pytest.mark.parametrize(
    ("encoding", "least", "most"),
    [
        ({}, 0.3, 0.7),  # a coin
        ({"long_texts": "head_and_tail"}, 0.95, 1),
        ({"long_texts": "windows"}, 0.95, 1),
        ({"long_texts": "windows", "window_pooling": "max"}, 0.95, 1),
    ],
)
def test_the_end_decides_where_it_is_read(
    encoding: dict[str, Any], least: float, most: float, store: FolderStore, data: Path
) -> None:
    _, made = trained(store, data, encoding)
    given = Predictor.load(made["finetune"].folder, device="cpu").predict(text for text, _ in UNSEEN)
    right = np.mean([each.label == label for each, (_, label) in zip(given, UNSEEN, strict=True)])
    assert least <= right <= most


@pytest.fixture
def reports() -> Path:
    """Documents of some 2,500 tokens whose last sentence decides."""
    file = CASES / "32-long-documents" / "reports.csv"
    if not file.exists():
        pytest.skip("needs ../shared/cases/32-long-documents")
    return file


def test_a_run_on_real_documents_says_what_it_does_not_read(reports: Path, tmp_path: Path) -> None:
    table = pd.read_csv(reports).reset_index(names="id")
    given: dict[str, Any] = {"labels": LABELS, "tokenizer": gpt2_tokenizer(), "max_length": None, "context_length": 256}
    cut, _ = tokenized({"train": table}, tmp_path / "cut", **given)
    assert cut.report["cut"]["rows"] == cut.report["cut"]["of"] == 80
    assert cut.report["cut"]["share"] > 0.85
    assert cut.warnings[0].startswith("only a part is read of 80 of 80 texts, those of more than 256 tokens: ")
    windows, _ = tokenized({"train": table}, tmp_path / "windows", **given, long_texts=LongTexts("windows"))
    assert windows.warnings == ()
    assert windows.report["splits"]["train"]["windows"] > 8 * 80


# 24 documents are held out. Read to the end, four seeds got 22 or 23 of them right on one machine, and one got 21 on
# another, which rounds otherwise; whoever guesses gets 19 or more right once in 300 times.
@pytest.mark.parametrize(("encoding", "least", "most"), [({}, 0.25, 0.75), ({"long_texts": "head_and_tail"}, 0.79, 1)])
def test_the_end_of_real_documents_decides(
    encoding: dict[str, Any], least: float, most: float, reports: Path, minilm: Path, store: FolderStore
) -> None:
    training = {"epochs": 8, "learning_rate": 1e-3, "evaluate_batches": 1}
    _, made = trained(store, reports, {**encoding, "max_length": 128}, weights=minilm, training=training)
    held_out = pd.concat([load_parts(made["holdout"].file(name), SPLIT) for name in ("validation", "test")])
    given = Predictor.load(made["finetune"].folder, device="cpu").predict(held_out["text"])
    right = np.mean([each.label == label for each, label in zip(given, held_out["label"], strict=True)])
    assert least <= right <= most


@pytest.fixture(scope="module")
def in_windows(store: FolderStore, data: Path) -> Made:
    """A run in windows up to its evaluation, with features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.steps.together.watched", lambda *_: nullcontext(NOBODY))
        recipe, made = trained(store, data, {"long_texts": "windows"}, training={**TRAINING, "epochs": 1})
    made["engine"] = perform(store, recipe, engine, **{name: made[name] for name in engine.inputs})
    made["cross_validate"] = perform(store, recipe, cross_validate, **{n: made[n] for n in cross_validate.inputs})
    made["evaluate"] = perform(store, recipe, evaluate, **{name: made[name] for name in evaluate.inputs})
    return recipe, made


@pytest.fixture(scope="module")
def evaluated(in_windows: Made) -> pd.DataFrame:
    """The test split's predictions, as the step `evaluate` wrote them."""
    table = pd.read_parquet(in_windows[1]["evaluate"].folder / "predictions")
    return table[table["split"] == "test"].reset_index(drop=True)


@pytest.fixture(scope="module")
def expected(evaluated: pd.DataFrame) -> Probabilities:
    return evaluated[[f"probability_{label}" for label in LABELS]].to_numpy(np.float64)


@pytest.fixture(scope="module")
def predictor(in_windows: Made) -> Predictor:
    return Predictor.load(in_windows[1]["finetune"].folder, device="cpu")


def test_the_model_says_how_it_reads(in_windows: Made) -> None:
    usage = json.loads(in_windows[1]["finetune"].file("inference.json").read_text())
    assert usage["long_texts"] == {"method": "windows", "overlap": 4, "window_pooling": "mean", "most_windows": 32}
    assert "windows of as many, which share 4" in Findings.load(in_windows[1]["evaluate"].folder).about["reads"]


def test_the_features_of_windows_are_kept(in_windows: Made) -> None:
    _, made = in_windows
    found = split_inputs(made["tokenize"].folder, made["features"].folder, "test")
    assert isinstance(found, Windows)
    assert isinstance(found.rows, Features)
    assert len(found.rows) == sum(found.counts) > len(found) == 48


def test_training_evaluation_and_predictions_agree(
    in_windows: Made, evaluated: pd.DataFrame, expected: Probabilities, predictor: Predictor
) -> None:
    _, made = in_windows
    assert np.abs(probabilities(predictor, evaluated["text"].tolist()) - expected).max() < WITHIN
    model = Windowed(load_classifier(made["finetune"].folder), pooling="mean", rows=8)
    for features in (made["features"].folder, None):
        inputs = split_inputs(made["tokenize"].folder, features, "test")
        targets = load_tokens(made["tokenize"].folder, "test").targets
        batch = Messages(inputs, torch.from_numpy(targets), None, 0).batch([*range(48)])
        with torch.inference_mode():
            found = model(*batch.inputs).softmax(dim=1).numpy()
        assert np.abs(found - expected).max() < WITHIN
    assert batch.targets.tolist() == [LABELS.index(label) for label in evaluated["label"]]


def test_scored_files_have_the_same_probabilities(
    evaluated: pd.DataFrame, expected: Probabilities, predictor: Predictor, tmp_path: Path
) -> None:
    evaluated[["text"]].to_csv(tmp_path / "texts.csv", index=False)
    with Output(Folder(tmp_path / "scored")).opened() as output:
        score(
            find_inputs([str(tmp_path / "texts.csv")], format=None, without=output.name),
            output,
            model=Model("long", "1", "the one", LABELS),
            predictor=lambda: predictor,
            profile=None,
            columns=Columns("text"),
            part_rows=20,
        )
    scored = pd.read_parquet(tmp_path / "scored" / "scored").sort_values("row")
    found = scored[[f"probability_{label}" for label in LABELS]].to_numpy(np.float64)
    assert np.abs(found - expected).max() < WITHIN


def test_the_server_and_mlflow_answer_the_same_and_explain(
    evaluated: pd.DataFrame, expected: Probabilities, predictor: Predictor
) -> None:
    texts = evaluated["text"].tolist()
    served = Served(Registered(Version("long", "1"), at=0), predictor, Measured(1.0, 0.5))
    endpoints = Endpoints(Answering(served), Limits(), Turns(Manner()), Metrics())
    with TestClient(application(endpoints)) as client:
        rows = client.post("/invocations", json={"inputs": texts}).json()["predictions"]
        found = np.array([[row[f"probability_{label}"] for label in LABELS] for row in rows])
        assert np.abs(found - expected).max() < WITHIN
        explained = client.post("/explain", json={"text": texts[0]}).json()
    of_the_text = [explained["prediction"][f"probability_{label}"] for label in LABELS]
    assert np.abs(np.array(of_the_text) - expected[0]).max() < WITHIN
    assert len(explained["words"]) + explained["not_weighed"] == len(texts[0].split())
    pyfunc = TextClassifier()
    pyfunc._predictor = predictor
    table = pyfunc.predict(None, pd.DataFrame({"text": texts}))
    shares = table[[f"probability_{label}" for label in LABELS]].to_numpy(np.float64)
    assert np.abs(shares - expected).max() < WITHIN


def test_onnx_runtime_reads_windows_as_rows(
    in_windows: Made, evaluated: pd.DataFrame, expected: Probabilities, store: FolderStore, tmp_path: Path
) -> None:
    recipe, made = in_windows
    auto = ClassifyRecipe.model_validate({**recipe.model_dump(mode="json"), "serving": {"engine": "onnxruntime"}})
    served = perform(store, auto, engine, **{name: made[name] for name in engine.inputs})
    table = json.loads(served.file("engines.json").read_text())
    rows = {row["name"]: row for row in table["candidates"]}
    assert rows["onnxruntime float32"]["refused"] is None
    folder = tmp_path / "served"
    export_onnx(made["finetune"].folder, tmp_path / "exported")
    folder.mkdir()
    for file in made["finetune"].folder.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    write_engine_file(made["finetune"].folder, folder)
    found = Predictor.load(folder, device="cpu")
    assert found.engine.name == "onnxruntime"
    assert np.abs(probabilities(found, evaluated["text"].tolist()) - expected).max() < WITHIN


@pytest.mark.parametrize(
    ("family", "trainable"),
    [("BERT", "head"), ("ModernBERT", "lora"), ("Llama", "last_two_blocks"), ("Qwen3", "all")],
)
def test_any_network_and_whatever_learns(
    family: str, trainable: str, data: Path, store: FolderStore, tmp_path: Path
) -> None:
    weights = write_weights(family, tmp_path / "weights")
    fields: dict[str, Any] = {"classifier": {"trainable": trainable}, "training": {**TRAINING, "epochs": 1}}
    if trainable == "lora":
        fields["lora"] = {"blocks": 1}
    recipe, made = trained(store, data, {"long_texts": "windows"}, weights=weights, **fields)
    made["engine"] = perform(store, recipe, engine, **{name: made[name] for name in engine.inputs})
    made["cross_validate"] = perform(store, recipe, cross_validate, **{n: made[n] for n in cross_validate.inputs})
    made["evaluate"] = perform(store, recipe, evaluate, **{name: made[name] for name in evaluate.inputs})
    table = pd.read_parquet(made["evaluate"].folder / "predictions")
    expected = table[[f"probability_{label}" for label in LABELS]].to_numpy(np.float64)
    predictor = Predictor.load(made["finetune"].folder, device="cpu")
    assert np.abs(probabilities(predictor, table["text"].tolist()) - expected).max() < WITHIN
    windows = load_tokens(made["tokenize"].folder, "train").texts
    assert isinstance(windows, Windows)
    before, after = predictor.tokenizer.begin, predictor.tokenizer.after
    assert {tuple(row[: len(before)]) for row in windows.rows} == {before}
    assert {tuple(row[len(row) - len(after) :]) for row in windows.rows} == {after}


def test_only_recipes_with_other_long_texts_have_other_keys() -> None:
    def key(**encoding: Any) -> dict[str, Any]:
        recipe = build_recipe({"data": {"source": "sample"}, "encoding": encoding})
        return tokenize.ingredients(recipe, {})

    assert key()["fields"] == {"encoding.max_length": None}
    assert key()["identity"] == {}
    assert key(long_texts="cut_end") == key()
    ways: list[dict[str, Any]] = [{"long_texts": "head_and_tail"}, {"long_texts": "head_and_tail", "head_share": 0.5}]
    ways += [{"long_texts": "windows"}, {"long_texts": "windows", "overlap": 3}]
    ways += [{"long_texts": "windows", "window_pooling": "max"}, {"long_texts": "windows", "most_windows": 4}]
    identities = [json.dumps(key(**way)["identity"]) for way in ways]
    assert len({*identities, "{}"}) == len(ways) + 1
