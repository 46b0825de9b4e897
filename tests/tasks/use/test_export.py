"""`finetune export`: which registered model is written, and what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from flows.export import main
from lib.serving.classifier import log_classifier
from lib.serving.follower import log_follower
from lib.text.gpt2 import gpt2_tokenizer
from tasks.record.mlflow_run import client, experiment_id
from tasks.registry.models import CLASSIFIER, INSTRUCTIONS, KIND_TAG, Kind
from tests.support.followers import write_follower
from tests.support.said import after_the_first_line
from tests.support.saved import save_gpt2_classifier
from tests.support.tracking import tracking_restored

HUGGING_FACE = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The run of `spam` and `helper`, a classifier and a follower registered in a home of their own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, tracking_restored():
        patch.setenv("FINETUNE_HOME", str(home))
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking = client()
        run = str(tracking.create_run(experiment_id(tracking, "tests")).info.run_id)
        folder = save_gpt2_classifier(home / "classifier")
        logged = {"run_id": run, "tracking_uri": tracking.tracking_uri}
        for _ in range(2):
            register(tracking, "spam", CLASSIFIER, log_classifier(folder, **logged))
        follower = write_follower(home / "follower")
        gpt2_tokenizer().save(follower)
        register(tracking, "helper", INSTRUCTIONS, log_follower(follower, **logged))
        yield run


def register(tracking: MlflowClient, name: str, kind: Kind, model: mlflow.entities.LoggedModel) -> None:
    """Registers a version; the first one becomes and stays the champion."""
    if not tracking.search_registered_models(f"name = '{name}'"):
        tracking.create_registered_model(name, tags={KIND_TAG: kind.tag})
    version = tracking.create_model_version(name, source=model.model_uri, model_id=model.model_id)
    if str(version.version) == "1":
        tracking.set_registered_model_alias(name, "champion", "1")


CHOICES = [
    ([], "spam", "1"),
    (["--name", "spam", "--version", "2"], "spam", "2"),
    (["--name", "helper"], "helper", "1"),
    (["--name", "helper", "--version", "1"], "helper", "1"),
]


@pytest.mark.parametrize(("choice", "name", "version"), CHOICES, ids=[" ".join(choice) for choice, _, _ in CHOICES])
def test_the_chosen_model_is_written(
    choice: list[str], name: str, version: str, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exported"
    assert main(["--format", "hf", str(folder), *choice, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"folder": str(folder), "format": "hf", "model": name, "version": version, "files": HUGGING_FACE}
    assert sorted(file.name for file in folder.iterdir()) == HUGGING_FACE
    (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
    assert architecture == ("GPT2ForSequenceClassification" if name == "spam" else "GPT2LMHeadModel")


def test_it_says_what_was_written(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "exported"
    assert main(["--format", "hf", str(folder)]) == 0
    assert capsys.readouterr().out == f"spam version 1 is in {folder}: {', '.join(HUGGING_FACE)}\n"


def test_it_says_what_other_programs_do_otherwise(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracking, folder = client(), save_gpt2_classifier(tmp_path / "long")
    usage = folder / "inference.json"
    ends = {"method": "head_and_tail", "head_share": 0.5}
    usage.write_text(json.dumps({**json.loads(usage.read_text()), "long_texts": ends, "temperature": 1.75}))
    model = log_classifier(folder, run_id=run, tracking_uri=tracking.tracking_uri)
    register(tracking, "long", CLASSIFIER, model)
    try:
        assert main(["--format", "hf", str(tmp_path / "exported"), "--name", "long"]) == 0
    finally:
        tracking.delete_registered_model("long")
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "the classifier was trained to read 16 tokens of a text: of a longer one the beginning, 50% of them, and the"
        " end; the tokenizer beside it cuts a text at 16 tokens, so other programs answer to longer ones otherwise",
        "the probabilities are calibrated by this program alone: elsewhere divide the logits by 1.75 before softmax",
    ]


REFUSED = [
    (["--name", "spam", "--version", "3"], "there is no version 3 of 'spam': look in the pages (`make ui`)"),
    (["--name", "spum", "--version", "1"], "there is no version 1 of 'spum': look in the pages (`make ui`)"),
    (["--name", "spum"], "spum has no champion: those with one are spam"),
    (["--version", "2"], "--version is of a model that --name names: give both"),
    (["--format", "onnx", "--name", "helper"], "helper is an instruction follower, and onnx is a form of classifiers: "
     "use --format hf"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_what_cannot_be_written_is_one_sentence(
    arguments: list[str], sentence: str, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--format", "hf", str(tmp_path / "exported"), *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {sentence}"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--format", "hf", str(tmp_path / "file" / "exported")]) == 2
    said = after_the_first_line(capsys.readouterr().err)
    file = tmp_path / "file"
    assert said == f"error: {file / 'exported'} cannot be made (File exists: {file}): name another folder\n"
