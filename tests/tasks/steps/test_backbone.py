"""The backbone step with weights from elsewhere: what it makes, what its key is made of, when it tries again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from lib.model.gpt2.config import read_config
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.weights import save_gpt
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from tasks.engine.step import Run
from tasks.steps.backbone import backbone
from tasks.steps.download import download
from tasks.steps.tokenizer import tokenizer
from tests.support.hub_server import HubServer, hub_for
from tests.support.recipes import build_recipe

SHAPE = GPTConfig(context_length=9, emb_dim=8, n_heads=2, n_layers=1, vocab_size=20)
CHECKPOINT = Path(__file__).resolve().parents[2] / "lib" / "model" / "gpt2" / "assets" / "openai-tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("FINETUNE_HOME", f"{tmp_path}/home")
    with hub_for(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "saved"
    folder.mkdir()
    save_gpt(new_gpt(SHAPE, seed=0), folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def recipe(weights: str, **model: Any) -> ClassifyRecipe:
    return build_recipe({"data": {"source": "sample"}, "model": {"size": "from-weights", "weights": weights} | model})


def made(chosen: ClassifyRecipe) -> Path:
    """The folder of the artifact."""
    inputs = with_tokenizer(chosen)
    return backbone._run(Run(chosen), backbone.ingredients(chosen, inputs), inputs).folder


def with_tokenizer(chosen: ClassifyRecipe) -> dict[str, Artifact]:
    """What the step needs of the ones before it."""
    return {"tokenizer": tokenizer._run(Run(chosen), tokenizer.ingredients(chosen, {}), {})}


def test_weights_from_a_hub_become_an_artifact_under_their_commit(hub: HubServer, files: dict[str, bytes]) -> None:
    old = hub.add("owner/name", files, revision="v1")
    new = hub.add("owner/name", files | {"README.md": b""})
    for revision, commit in ((None, new), ("main", new), ("v1", old), (old, old)):
        chosen = recipe("owner/name", revision=revision)
        assert backbone.ingredients(chosen, {})["identity"] == {"repository": "owner/name", "commit": commit}
    folder = made(recipe("owner/name"))
    assert read_config(folder) == SHAPE
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_after_a_run_the_cache_answers_without_a_network(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/name", files)
    chosen = recipe("owner/name")
    inputs = with_tokenizer(chosen)
    before = [step.ingredients(chosen, inputs) for step in (tokenizer, backbone)]
    moved = hub.add("owner/name", files | {"README.md": b""})  # since the key was made
    folder = backbone._run(Run(chosen), before[1], inputs).folder
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert not any(moved in request.path for request in hub.requests)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert [step.ingredients(chosen, inputs) for step in (tokenizer, backbone)] == before


def test_the_same_weights_have_the_same_key_wherever_they_lie(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    keys = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        for name, body in files.items():
            (tmp_path / place / name).write_bytes(body)
        keys += [backbone.ingredients(recipe(f"{tmp_path}/{place}{file}"), {}) for file in ("", "/model.safetensors")]
    assert all(key == keys[0] for key in keys)
    assert str(tmp_path) not in str(keys)


def test_openais_checkpoint_becomes_an_artifact(hub: HubServer) -> None:
    assert read_config(made(recipe(f"{CHECKPOINT}"))).emb_dim == 12


def test_a_network_in_trouble_is_tried_again_as_with_the_data() -> None:
    for option in ("retries", "retry_delay_seconds", "retry_condition_fn"):
        assert backbone.task_options[option] == download.task_options[option]
