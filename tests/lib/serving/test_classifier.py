"""A logged classifier, as strangers use it: in fresh processes elsewhere, without the project, and over HTTP."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pandas as pd
import pytest
import yaml

from lib.errors import MessagesError
from lib.inference.predictor import Predictor
from lib.serving.classifier import log_classifier
from tests.support.e2e import answers, free_port, wait_until
from tests.support.saved import save_family_classifier, write_engine_file, write_weights
from tests.support.stranger import Logged, logged_by

pytestmark = pytest.mark.slow

COLUMNS = ["label", "threshold", "probability_ham", "probability_spam & <scam>"]
TEXTS = ["You are a winner", "see you at lunch"]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, new_database: Path) -> Iterator[Logged]:
    with logged_by(log_classifier, classifier_folder, tmp_path_factory.mktemp("mlflow"), new_database) as logged:
        yield logged


@pytest.fixture
def expected(classifier_folder: Path) -> list[list[Any]]:
    predictions = Predictor.load(classifier_folder, device="cpu").predict(TEXTS)
    return [[each.label, 0.5, *each.probabilities.values()] for each in predictions]


def test_the_model_holds_what_serving_needs_and_nothing_pickled(logged: Logged, classifier_folder: Path) -> None:
    assert logged.files() == {
        "MLmodel", "checksums.json", "conda.yaml", "python_env.yaml", "requirements.txt", "classifier.py",
        "input_example.json", "serving_input_example.json",
        *(f"artifacts/classifier/{file.name}" for file in classifier_folder.iterdir()),
    }  # fmt: skip
    code = logged.code()
    assert {
        "inference/predictor.py",
        "errors.py",
        "model/gpt2/gpt.py",
        "text/gpt2.py",
        "text/assets/gpt2.tiktoken",
    } <= code
    assert not any(file.startswith(("data/", "training/", "evaluation/")) or "__pycache__" in file for file in code)
    flavor = yaml.safe_load((logged.folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert Path(flavor["model_code_path"]).name == "classifier.py"  # MLflow looks for that name beside MLmodel
    assert "python_model" not in flavor


# Packages of training, of other networks and of another engine, which no GPT-2 on torch imports.
OTHERS = {"onnxruntime", "peft", "tokenizers", "transformers"}


def test_the_requirements_name_all_that_the_code_imports(logged: Logged) -> None:
    required = logged.required()
    assert logged.imported() == set(required) | OTHERS
    assert not set(required) & OTHERS
    assert not any("+" in version for version in required.values())


def test_a_classifier_of_transformers_is_served_elsewhere_with_what_it_requires(
    tmp_path: Path, new_database: Path
) -> None:
    folder = save_family_classifier(
        "BERT", write_weights("BERT", tmp_path / "weights", num_hidden_layers=2), tmp_path / "saved"
    )
    (tmp_path / "mlflow").mkdir()
    with logged_by(log_classifier, folder, tmp_path / "mlflow", new_database) as logged:
        seen = logged.ask(TEXTS)
        assert logged.imported() - set(logged.required()) == {"onnxruntime", "peft"}
    assert Path(seen["lib"]) == logged.folder / "code" / "lib" / "__init__.py"
    assert seen["imported"] == ["tokenizers", "transformers"]
    predictions = list(Predictor.load(folder, device="cpu").predict(TEXTS))
    assert [row[0] for row in seen["rows"]] == [each.label for each in predictions]
    wanted = [list(each.probabilities.values()) for each in predictions]
    assert [row[1:] for row in seen["rows"]] == [pytest.approx(row, abs=1e-6) for row in wanted]


def test_a_classifier_on_onnxruntime_is_served_elsewhere_without_torch(tmp_path: Path, new_database: Path) -> None:
    folder = save_family_classifier(
        "BERT", write_weights("BERT", tmp_path / "weights", num_hidden_layers=2), tmp_path / "saved"
    )
    write_engine_file(folder, folder)
    (tmp_path / "mlflow").mkdir()
    with logged_by(log_classifier, folder, tmp_path / "mlflow", new_database) as logged:
        seen = logged.ask(TEXTS)
        assert {"onnxruntime", "tokenizers"} < set(logged.required())
        assert not {"torch", "transformers", "safetensors"} & set(logged.required())
    assert seen["imported"] == ["tokenizers"]
    predictions = list(Predictor.load(folder).predict(TEXTS))
    assert seen["rows"] == [[each.label, *each.probabilities.values()] for each in predictions]


def test_the_model_belongs_to_its_run(logged: Logged) -> None:
    assert logged.model.source_run_id == logged.run_id
    assert str(logged.model.status) == "READY"
    assert logged.model.params == {"training.epochs": "3"}
    outputs = logged.client.get_run(logged.run_id).outputs
    assert outputs is not None
    assert [output.model_id for output in outputs.model_outputs] == [logged.model.model_id]
    assert logged.client.get_run(logged.run_id).info.status == "RUNNING"  # opened and closed by its owner


def test_a_fresh_process_elsewhere_predicts_without_the_project_or_the_network(
    logged: Logged, expected: list[list[Any]]
) -> None:
    seen = logged.ask(TEXTS)
    assert Path(seen["lib"]) == logged.folder / "code" / "lib" / "__init__.py"
    assert Path(seen["served"]) == logged.folder / "classifier.py"
    assert seen["columns"] == COLUMNS
    assert seen["imported"] == []
    assert [row[0] for row in seen["rows"]] == [row[0] for row in expected]
    assert [row[1:] for row in seen["rows"]] == [pytest.approx(row[1:], abs=1e-6) for row in expected]


@pytest.mark.parametrize(
    "texts",
    [
        TEXTS,
        pd.DataFrame({"text": TEXTS}),
        pd.Series(TEXTS),
        pd.Series(TEXTS, name="text").to_numpy(),
        pd.DataFrame({"text": TEXTS, "id": [1, 2]}),
    ],
    ids=["list", "table", "series", "array", "table with more columns"],
)
def test_texts_in_every_form(logged: Logged, expected: list[list[Any]], texts: Any) -> None:
    table = mlflow.pyfunc.load_model(str(logged.folder)).predict(texts)
    assert list(table.columns) == COLUMNS
    assert table["label"].tolist() == [row[0] for row in expected]
    assert table["probability_ham"].tolist() == pytest.approx([row[2] for row in expected], abs=1e-6)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (pd.DataFrame({"label": ["ham"], "text": ["hello"]}), "first column of the input is 'label'"),
        (["fine", ""], "text 2 is empty"),
        (["fine", None], "text 2 is not a string"),
    ],
)
def test_what_cannot_be_classified_is_refused_in_one_sentence(logged: Logged, texts: Any, sentence: str) -> None:
    with pytest.raises(MessagesError, match=sentence):
        mlflow.pyfunc.load_model(str(logged.folder)).predict(texts)


def test_a_model_that_cannot_be_logged_leaves_nothing_behind(
    logged: Logged, classifier_folder: Path, tmp_path: Path
) -> None:
    for name in ("labels.json", "inference.json", "tokenizer.json"):
        shutil.copyfile(classifier_folder / name, tmp_path / name)
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "is-not-there")
    experiment = logged.client.get_run(logged.run_id).info.experiment_id
    before = len(logged.client.search_logged_models([experiment]))
    with pytest.raises(OSError, match=r"model\.safetensors"):
        log_classifier(tmp_path, run_id=logged.run_id, tracking_uri=logged.environment["MLFLOW_TRACKING_URI"])
    assert len(logged.client.search_logged_models([experiment])) == before


def test_mlflows_server_answers_over_http(logged: Logged, expected: list[list[Any]]) -> None:
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = ["mlflow", "models", "serve", "--model-uri", "models:/stranger@champion", "--env-manager", "local"]
    with (logged.elsewhere / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=logged.elsewhere,
            env=logged.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # MLflow starts the server as a child: both are ended together
        )
        try:
            wait_until(lambda: answers(f"{address}/ping"), seconds=60, what="mlflow models serve")
            for request in (
                {"inputs": TEXTS},
                {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}},
                {"dataframe_records": [{"text": text} for text in TEXTS]},
            ):
                rows = httpx.post(f"{address}/invocations", json=request, timeout=30).json()["predictions"]
                assert [list(row) for row in rows] == [COLUMNS, COLUMNS]
                assert [row["label"] for row in rows] == [row[0] for row in expected]
            refused = httpx.post(f"{address}/invocations", json={"inputs": ["fine", ""]}, timeout=30)
            assert refused.status_code == 400
            assert "text 2 is empty" in refused.json()["message"]
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
