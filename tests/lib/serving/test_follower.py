"""A logged model that follows instructions, as strangers use it: without the project, and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import init

from lib.errors import MessagesError
from lib.inference.answerer import Answerer
from lib.serving.follower import log_follower
from tests.support.followers import RESPONSES, write_follower
from tests.support.stranger import Logged, logged_by

pytestmark = pytest.mark.slow

QUESTIONS = [{"instruction": "Is it?"}, {"instruction": "Is it?", "input": "Say no!"}]
SAID = [{"role": "user", "content": "No!"}, {"role": "assistant", "content": "no"}]
EXPECTED = [RESPONSES["?"], RESPONSES["!"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_follower(tmp_path_factory.mktemp("saved") / "follower")


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, folder: Path, new_database: Path) -> Iterator[Logged]:
    with logged_by(log_follower, folder, tmp_path_factory.mktemp("mlflow"), new_database) as logged:
        yield logged


@pytest.fixture(scope="module")
def model(logged: Logged) -> Any:
    return mlflow.pyfunc.load_model(str(logged.folder))


def test_the_model_holds_what_serving_needs_and_nothing_pickled(logged: Logged) -> None:
    assert logged.files() == {
        "MLmodel", "checksums.json", "conda.yaml", "python_env.yaml", "requirements.txt", "follower.py",
        "input_example.json", "serving_input_example.json",
        *(f"artifacts/follower/{name}" for name in ("model.safetensors", "config.json", "inference.json")),
        *(f"artifacts/follower/{name}" for name in ("tokenizer.json", "tokenizer_config.json")),
    }  # fmt: skip
    code = logged.code()
    assert {"inference/answerer.py", "model/gpt2/generation.py", "text/prompts.py", "text/assets/gpt2.tiktoken"} <= code
    assert not any(file.startswith(("data/", "training/", "evaluation/")) or "__pycache__" in file for file in code)
    flavor = yaml.safe_load((logged.folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert Path(flavor["model_code_path"]).name == "follower.py"  # MLflow looks for that name beside MLmodel
    assert "python_model" not in flavor


# Packages of training, of other networks and of chat templates, which no GPT-2 imports.
OTHERS = {"jinja2", "peft", "tokenizers", "transformers"}


def test_the_requirements_name_all_that_the_code_imports(logged: Logged) -> None:
    required = set(logged.required())
    assert logged.imported() == required | OTHERS
    assert not required & OTHERS


def test_a_fresh_process_elsewhere_answers_without_the_project_or_the_network(logged: Logged, folder: Path) -> None:
    seen = logged.ask(QUESTIONS)
    assert Path(seen["lib"]) == logged.folder / "code" / "lib" / "__init__.py"
    assert Path(seen["served"]) == logged.folder / "follower.py"
    assert seen["columns"] == ["response"]
    assert seen["rows"] == [[response] for response in EXPECTED]
    answers = Answerer.load(folder, device="cpu").answer([("Is it?", ""), ("Is it?", "Say no!")])
    assert list(answers) == EXPECTED


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        (QUESTIONS, EXPECTED),
        (pd.DataFrame(QUESTIONS), EXPECTED),
        (pd.DataFrame({"id": [7, 8], "input": ["", "Say no!"], "instruction": "Is it?"}), EXPECTED),
        (pd.DataFrame({"instruction": ["Is it?", "No!"]}, index=[5, 5]), EXPECTED),
        (pd.DataFrame({"instruction": ["Is it?"], "input": [None]}), EXPECTED[:1]),
        (pd.Series(["Is it?"], name="instruction"), EXPECTED[:1]),
        (QUESTIONS[1], EXPECTED[1:]),
        (pd.DataFrame({"instruction": [], "input": []}, dtype=str), []),
        ([{"instruction": "Is it?", "earlier": SAID}, QUESTIONS[1]], EXPECTED),
    ],
    ids=["list", "table", "more columns", "no input", "null input", "series", "dictionary", "no rows", "earlier"],
)
def test_questions_in_every_form(model: Any, questions: Any, expected: list[str]) -> None:
    table = model.predict(questions)
    assert list(table.columns) == ["response"]
    assert table["response"].tolist() == expected


@pytest.mark.parametrize(
    ("questions", "sentence"),
    [
        ([{"instruction": "a"}, {"instruction": " "}], "the instruction of question 2 is empty: leave it out"),
        ([{"instruction": None}], "the instruction of question 1 is not a string"),
        ({"instruction": ["a", "b"]}, r"the instruction of question 1 is not a string but \['a', 'b'\]"),
        ([{"instruction": "a", "input": {"text": "b"}}], "the input of question 1 is not a string but {'text': 'b'}"),
        ([{"instruction": "a"}, {"instruction": "b", "earlier": "c"}], "'earlier' of question 2 must be a list of"),
        ([{"instruction": "b", "earlier": SAID[1:]}], "'earlier' of question 1 cannot stand before a question: turn 1"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_sentence(model: Any, questions: Any, sentence: str) -> None:
    with pytest.raises(MessagesError, match=f"^{sentence}") as refused:
        model.predict(questions)
    assert isinstance(refused.value, MlflowException)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "\n" not in str(refused.value)


def test_texts_without_a_column_are_refused_by_the_signature(model: Any) -> None:
    with pytest.raises(MlflowException, match=r"missing inputs \['instruction'\]") as refused:
        model.predict(["Is it?"])
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_model_that_cannot_be_logged_leaves_nothing_behind(logged: Logged, tmp_path: Path) -> None:
    folder = write_follower(tmp_path / "damaged")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "is-not-there")
    experiment = logged.client.get_run(logged.run_id).info.experiment_id
    before = len(logged.client.search_logged_models([experiment]))
    with pytest.raises(OSError, match=r"model\.safetensors"):
        log_follower(folder, run_id=logged.run_id, tracking_uri=logged.environment["MLFLOW_TRACKING_URI"])
    assert len(logged.client.search_logged_models([experiment])) == before


@pytest.mark.parametrize(
    "request_",
    [
        {"dataframe_records": QUESTIONS},
        {"dataframe_records": [{**QUESTIONS[0], "earlier": SAID}, QUESTIONS[1]]},
        {"dataframe_split": {"columns": ["instruction", "input"], "data": [["Is it?", None], ["Is it?", "Say no!"]]}},
        {"inputs": {"instruction": ["Is it?", "Is it?"], "input": ["", "Say no!"]}},
    ],
    ids=["records", "earlier", "split", "inputs"],
)
def test_mlflows_server_answers_over_http(model: Any, request_: dict[str, Any]) -> None:
    answer = TestClient(init(model)).post("/invocations", json=request_)
    assert answer.status_code == 200
    assert answer.json() == {"predictions": [{"response": response} for response in EXPECTED]}


def test_mlflows_server_refuses_with_the_same_sentence(model: Any) -> None:
    answer = TestClient(init(model)).post("/invocations", json={"dataframe_records": [{"instruction": ""}]})
    assert answer.status_code == 400
    assert "the instruction of question 1 is empty" in answer.json()["message"]
