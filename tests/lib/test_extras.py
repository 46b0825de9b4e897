"""Packages that only some runs need: what is missing is one sentence, before the run begins."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from typing import Any

import pytest

from flows.servers.database import databases
from lib.errors import ExtraError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.recipes.sections import Recipe
from tasks.record.mlflow_run import client
from tests.support.e2e import PROJECT
from tests.support.said import after_the_first_line

LORA = "the package peft, which is not installed: run `pip install 'finetune-flows[lora]'`"


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of packages that Python does not find in this test; empty at first."""
    hidden: set[str] = set()
    find_spec = util.find_spec
    monkeypatch.setattr("lib.extras.find_spec", lambda name: None if name in hidden else find_spec(name))
    return hidden


def classifier(**fields: Any) -> ClassifyRecipe:
    return ClassifyRecipe.model_validate({"data": {"source": "sample"}, **fields})


def follower(**fields: Any) -> InstructRecipe:
    return InstructRecipe.model_validate({"data": {"source": "sample"}, **fields})


@pytest.mark.parametrize(
    ("package", "recipe", "sentence"),
    [
        ("peft", classifier(classifier={"trainable": "lora"}), f"classifier.trainable lora needs {LORA}"),
        ("peft", follower(training={"trainable": "lora"}), f"training.trainable lora needs {LORA}"),
        (
            "ollama",
            follower(judge={"provider": "ollama"}),
            "judge.provider ollama needs the package ollama, which is not installed: run `pip install"
            " 'finetune-flows[judge]'`",
        ),
        (
            "onnxruntime",
            classifier(serving={"engine": "onnxruntime"}),
            "serving.engine onnxruntime needs the package onnxruntime, which is not installed: run `pip install"
            " 'finetune-flows[onnx]'`",
        ),
        (
            "onnx",
            classifier(serving={"precision": "int8"}),
            "serving.precision int8 needs the package onnx, which is not installed: run `pip install"
            " 'finetune-flows[onnx]'`",
        ),
        (
            "sacrebleu",
            follower(),
            "measuring answers by chrF needs the package sacrebleu, which is not installed: run `pip install"
            " 'finetune-flows[metrics]'`",
        ),
    ],
)
def test_what_a_recipe_needs_is_asked_for(package: str, recipe: Recipe, sentence: str, missing: set[str]) -> None:
    recipe.require_extras()
    missing.add(package)
    with pytest.raises(ExtraError) as error:
        recipe.require_extras()
    assert str(error.value) == sentence


def test_a_recipe_asks_for_nothing_that_it_does_not_use(missing: set[str]) -> None:
    missing |= {"peft", "ollama", "sacrebleu", "psycopg2"}
    classifier().require_extras()
    missing.remove("sacrebleu")
    follower(judge={"provider": "openai"}).require_extras()


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
def test_mlflow_on_postgresql_needs_its_driver(scheme: str, missing: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    missing.add("psycopg2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://nobody@127.0.0.1:1/none")
    with pytest.raises(ExtraError, match=r"^MLFLOW_TRACKING_URI .* psycopg2, .*'finetune-flows\[postgres\]'`$"):
        client()


def test_both_servers_on_postgresql_need_its_driver(missing: set[str]) -> None:
    missing.add("psycopg2")
    with pytest.raises(ExtraError, match=r"^DATABASE .* psycopg2, .*'finetune-flows\[postgres\]'`$"):
        databases("postgresql://nobody@127.0.0.1:1/")


def test_a_run_ends_with_the_sentence_before_it_begins(
    missing: set[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.classify import PROGRAM
    from flows.terminal.command_line import main

    missing.add("peft")
    monkeypatch.setattr("flows.terminal.runs.prefect_server", lambda: pytest.fail("the run began"))
    assert main(["--classifier.trainable=lora"], PROGRAM) == 2
    assert after_the_first_line(capsys.readouterr().err) == f"error: classifier.trainable lora needs {LORA}\n"


def test_what_steps_and_doors_import_needs_no_extra() -> None:
    """A step imports all that it reaches before it runs, the judge's step also where nobody judges."""
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['peft', 'ollama', 'psycopg2', 'sacrebleu'])\n"  # None: importing it fails
        "import flows.up, flows.deployments\n"
        "for step in flows.deployments.CLASSIFY.all_steps: step.load_code(step.code)\n"
        "del sys.modules['sacrebleu']\n"  # which every recipe of instructions needs
        "for step in flows.deployments.INSTRUCT.all_steps: step.load_code(step.code)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
