"""`finetune push`: what reaches a hub, what does not, and what is said when it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from flows.__main__ import main
from lib.model.classifier import new_classifier, save_classifier
from lib.model.hugging_face.pooled import load_backbone
from lib.model.places import fetch_weights, tokenizer_folder
from lib.model.usage import Usage
from lib.serving.classifier import log_classifier
from tasks.record.mlflow_run import client, experiment_id
from tasks.registry.models import CLASSIFIER, KIND_TAG
from tests.support.families import write_family
from tests.support.hub_server import TOKEN, HubServer, hub_for, name_endpoint
from tests.support.tiny_tokenizers import wordpiece
from tests.support.tracking import tracking_restored

NAME = "somebody/spam"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("FINETUNE_HOME", f"{tmp_path}/home")
    with hub_for(monkeypatch, tmp_path) as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A classifier on a tiny BERT that was a local folder, as a run keeps it."""
    made = wordpiece(tmp_path / "model")
    base = write_family("BERT", tmp_path / "base")
    backbone = load_backbone(base, ("ham", "spam"), pooling="cls", context_length=64, pad=0, seed=0)
    classifier = new_classifier(backbone, ("ham", "spam"), trainable="head", seed=0)
    save_classifier(made, classifier, Usage(max_length=20, padding="batch", precision="float32"))
    recipe = {"model": {"weights": f"{base}"}, "data": {"url": "https://user:secret@host/a.csv"}}
    (made / "recipe.json").write_text(json.dumps(recipe))
    (made / "history.parquet").write_bytes(b"")
    return made


def pushed(*arguments: str) -> int:
    return main(["push", NAME, *arguments])


def test_what_arrives_is_the_model_private_and_loadable(
    hub: HubServer, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert pushed("--folder", f"{folder}") == 0
    assert "(private): pushed as commit " in capsys.readouterr().out
    assert hub.is_private(NAME)
    arrived = {name: body for name, body in hub.files(NAME).items() if name != ".gitattributes"}
    card = arrived.pop("README.md").decode()
    names = ("config.json", "inference.json", "labels.json", "model.safetensors")
    assert sorted(arrived) == sorted([*names, "tokenizer.json", "tokenizer_config.json"])
    assert all(body == (folder / name).read_bytes() for name, body in arrived.items())
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n")
    assert f'pipeline("text-classification", model="{NAME}")' in card
    for body in (card, *(body.decode("utf-8", "ignore") for body in arrived.values())):
        assert not any(word in body for word in (str(tmp_path), "secret", TOKEN))
    assert fetch_weights("from-weights", NAME, folder=tmp_path).joinpath("model.safetensors").is_file()
    assert (tokenizer_folder(NAME) / "tokenizer.json").is_file()


def test_the_weights_that_it_began_with_are_named_if_they_are_a_repository(hub: HubServer, folder: Path) -> None:
    (folder / "recipe.json").write_text(json.dumps({"model": {"weights": "owner/base"}}))
    assert pushed("--folder", f"{folder}") == 0
    assert b'\nbase_model: "owner/base"\n' in hub.files(NAME)["README.md"]


def test_the_hub_is_told_the_task(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    (folder / "labels.json").unlink()  # as an export has it
    assert pushed("--folder", f"{folder}") == 0
    assert b"pipeline_tag: text-classification" in hub.files(NAME)["README.md"]
    writer = write_family("Llama", tmp_path / "writer", auto="AutoModelForCausalLM")
    assert pushed("--folder", f"{writer}") == 0
    assert b"pipeline_tag: text-generation" in hub.files(NAME)["README.md"]


def test_the_same_again_makes_no_commit(hub: HubServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pushed("--folder", f"{folder}", "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert pushed("--folder", f"{folder}", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**first, "new": False}
    (folder / "labels.json").write_text('["spam", "ham"]')
    assert pushed("--folder", f"{folder}", "--json") == 0
    changed = json.loads(capsys.readouterr().out)
    assert changed["new"]
    assert changed["commit"] != first["commit"]


def test_public_is_said_and_never_by_chance(hub: HubServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pushed("--folder", f"{folder}", "--public") == 0
    assert not hub.is_private(NAME)
    assert "(public): pushed" in capsys.readouterr().out
    assert pushed("--folder", f"{folder}") == 2
    assert f"{NAME} on {hub.endpoint} is public: push with --public, or to another name" in capsys.readouterr().err


REFUSALS = {
    "no token": (NAME, None, "needs to know who pushes: set HF_TOKEN to a token of yours that may write"),
    "wrong token": (NAME, "hf_wrong-one", "the token in HF_TOKEN is not valid; set another"),
    "another owner": ("google/spam", TOKEN, "the token in HF_TOKEN may not write there; set one that may"),
    "no name": ("spam", TOKEN, "'spam' cannot be a repository's name: give OWNER/NAME"),
}


@pytest.mark.parametrize(("name", "token", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_one_sentence_without_the_token(
    hub: HubServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    token: str | None,
    reason: str,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert main(["push", name, "--folder", f"{folder}"]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 2  # the announcement, and the sentence
    assert token is None or token not in said


def test_somebody_elses_repository(hub: HubServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("google/spam", {})
    assert main(["push", "google/spam", "--public", "--folder", f"{folder}"]) == 2
    assert "the token in HF_TOKEN may not write there" in capsys.readouterr().err
    assert hub.files("google/spam") == {}


def test_a_hub_that_is_away(
    hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HubServer() as closed:
        pass
    name_endpoint(monkeypatch, closed.endpoint)
    assert pushed("--folder", f"{folder}") == 2
    assert f"{NAME} cannot be pushed to {closed.endpoint}: the connection failed" in capsys.readouterr().err
    name_endpoint(monkeypatch, f"http://{'a' * 64}.org")
    assert pushed("--folder", f"{folder}") == 2
    assert "which is no address" in capsys.readouterr().err


def test_a_folder_of_something_else(hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pushed("--folder", f"{tmp_path}") == 2
    assert "config.json does not exist" in capsys.readouterr().err
    assert not hub.requests


def test_a_registered_version_goes_with_its_card(
    hub: HubServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "home").mkdir()
    with tracking_restored():
        tracking = client()
        mlflow.set_tracking_uri(tracking.tracking_uri)
        use = json.loads((folder / "inference.json").read_text()) | {"positive_label": None, "threshold": 0.5}
        (folder / "inference.json").write_text(json.dumps(use))
        run = tracking.create_run(experiment_id(tracking, "tests")).info.run_id
        logged = log_classifier(folder, run_id=run, tracking_uri=tracking.tracking_uri)
        tracking.create_registered_model("spam", tags={KIND_TAG: CLASSIFIER.tag})
        card = f"It is 98 % right.\n\n| weights | {tmp_path}/base |\n\n## Use\n\nmlflow.pyfunc\n"
        tracking.create_model_version("spam", logged.model_uri, run, model_id=logged.model_id, description=card)
        assert pushed("--name", "spam", "--version", "1") == 0
    assert hub.files(NAME)["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    readme = hub.files(NAME)["README.md"].decode()
    assert "It is 98 % right.\n\n| weights | a local folder |" in readme
    assert "mlflow" not in readme


def test_a_version_needs_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert pushed("--version", "2") == 2
    assert "--version is of a model that --name names: give both" in capsys.readouterr().err
