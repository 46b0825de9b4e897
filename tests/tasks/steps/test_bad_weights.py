"""Weights that cannot be used: each is refused in one sentence, by the steps that a user's recipe meets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.errors import FinetuneError, RecipeError
from lib.model.backbone import Pooling
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.hugging_face.pooled import load_backbone
from lib.store.artifacts import Artifact
from lib.text.tokens import require_within_context
from tasks.engine.step import Run
from tasks.steps.backbone import backbone
from tasks.steps.tokenizer import context_length, tokenizer
from tests.support.families import write_family
from tests.support.http_server import Reply
from tests.support.hub_server import HubServer, hub_for, stored_at
from tests.support.recipes import build_recipe
from tests.support.tiny_tokenizers import byte_pair, wordpiece

NAME = "somebody/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("FINETUNE_HOME", f"{tmp_path}/home")
    with hub_for(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Those of a tiny BERT with its tokenizer."""
    folder = write_family("BERT", wordpiece(tmp_path / "made"))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def made(weights: str = NAME, **model: Any) -> Artifact:
    """What the two steps make of weights."""
    recipe = build_recipe({"data": {"source": "sample"}, "model": {"weights": weights} | model})
    first = tokenizer._run(Run(recipe), tokenizer.ingredients(recipe, {}), {})
    return backbone._run(Run(recipe), backbone.ingredients(recipe, {"tokenizer": first}), {"tokenizer": first})


def refusal(weights: str = NAME, **model: Any) -> str:
    """The sentence with which they are refused."""
    with pytest.raises(FinetuneError) as caught:
        made(weights, **model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_one_is_not_refused(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    assert made().file("model.safetensors").read_bytes() == files["model.safetensors"]


CONFIGS = {
    **{kind: ({"model_type": kind}, f"describes a {kind}.*choose an encoder") for kind in ("vit", "clip", "wav2vec2")},
    **{kind: ({"model_type": kind}, f"encoder with a decoder .{kind}.: choose") for kind in ("whisper", "t5")},
    "remote code": (
        {"model_type": "own", "auto_map": {"AutoModel": "own.Network"}},
        r"config\.json has model_type = 'own', which .* code that comes with weights is not run: choose another model",
    ),
    "no type": ({}, r"config\.json has no model_type: choose weights"),
    "wrong type": (
        {"model_type": "bert", "hidden_size": "x"},
        r"describes no bert .*'hidden_size'.*get the file again",
    ),
}


@pytest.mark.parametrize(("fields", "reason"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_of_something_else(
    hub: HubServer, files: dict[str, bytes], fields: dict[str, Any], reason: str
) -> None:
    hub.add(NAME, files | {"config.json": json.dumps(fields).encode()})
    assert re.search(reason, refusal())
    assert not hub.storage.requests  # nothing large was fetched


FILES: dict[str, tuple[dict[str, bytes | None], str]] = {
    "damaged config": ({"config.json": b'{"model_ty'}, r"config\.json is not JSON .*get the file again"),
    "adapters": (
        {"config.json": None, "adapter_config.json": b"{}", "adapter_model.safetensors": b""},
        rf"^{NAME} has adapters .*merge them into it .*set model\.weights to that folder",
    ),
    "no tokenizer": ({"tokenizer.json": None}, "has no tokenizer .*put there the tokenizer's files"),
    "no weights": ({"model.safetensors": None}, rf"^{NAME} has neither model\.safetensors nor .*choose another model"),
    "a pickle": (
        {"model.safetensors": None, "pytorch_model.bin": b"."},
        r"^somebody/model has its weights only as a p",
    ),
    "missing shards": (
        {"model.safetensors": None, "model.safetensors.index.json": b'{"weight_map": {"a": "1-of-2.safetensors"}}'},
        rf"^{NAME} at main .*it has no 1-of-2\.safetensors; choose another revision, or another model",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), FILES.values(), ids=FILES)
def test_files_that_are_missing_or_damaged(
    hub: HubServer, files: dict[str, bytes], changes: dict[str, bytes | None], reason: str
) -> None:
    hub.add(NAME, {name: body for name, body in (files | changes).items() if body is not None})
    assert re.search(reason, refusal())


def test_adapters_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert f"{tmp_path} has adapters (adapter_config.json) without their base model" in refusal(f"{tmp_path}")


def test_a_tokenizer_of_another_vocabulary(hub: HubServer, tmp_path: Path) -> None:
    folder = write_family("BERT", byte_pair(tmp_path / "made"))
    hub.add(NAME, {file.name: file.read_bytes() for file in folder.iterdir()})
    assert re.search("the tokenizer has 330 tokens, and the network in .* knows 120: use the tokenizer", refusal())


def test_tensors_of_another_shape_are_named_with_their_place(hub: HubServer, files: dict[str, bytes]) -> None:
    changed = json.loads(files["config.json"]) | {"vocab_size": 130}
    commit = hub.add(NAME, files | {"config.json": json.dumps(changed).encode()})
    assert re.search(rf"snapshots/{commit} do not fit .*word_embeddings\.weight has the shape \[120, 32\]", refusal())


@pytest.mark.parametrize("where", ["hub", "folder"])
def test_a_size_with_weights_that_are_no_gpt2(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, where: str
) -> None:
    hub.add(NAME, files)
    weights = NAME if where == "hub" else f"{tmp_path}/made"
    assert refusal(weights, size="gpt2-small") == (
        f"model.size is 'gpt2-small', but the weights '{weights}' are no GPT-2 (bert): leave model.size out, or set it"
        " to 'from-weights'"
    )


def test_half_a_download_is_not_taken_for_a_whole_one(hub: HubServer, files: dict[str, bytes]) -> None:
    body = files["model.safetensors"]
    hub.add(NAME, files)
    hub.storage.serve(stored_at(body), Reply(body[:-10]), Reply(body))
    assert "not all of model.safetensors came; run again" in refusal()
    assert made().file("model.safetensors").read_bytes() == body


def test_a_branch_that_moved(hub: HubServer, files: dict[str, bytes], caplog: pytest.LogCaptureFixture) -> None:
    old = hub.add(NAME, files)
    made()
    made()
    assert not caplog.messages
    new = hub.add(NAME, files | {"README.md": b""})
    made()
    made()
    assert caplog.messages == [
        f"{NAME} at main is now the commit {new}, and was {old} when it was last fetched here: set model.revision to"
        " one of them to stay with it"
    ]


def test_robertas_first_positions_are_not_for_texts(hub: HubServer, tmp_path: Path) -> None:
    folder = write_family("RoBERTa", wordpiece(tmp_path / "made"))
    hub.add(NAME, {file.name: file.read_bytes() for file in folder.iterdir()})
    recipe = build_recipe({"data": {"source": "sample"}, "model": {"weights": NAME}})
    limit = context_length(tokenizer._run(Run(recipe), tokenizer.ingredients(recipe, {}), {}))
    assert limit == 64  # of its 66 rows
    with pytest.raises(
        RecipeError, match=r"encoding\.max_length 66 is over the model's context of 64: choose 64 or less"
    ):
        require_within_context(66, limit, null_means="the longest message")


@pytest.mark.parametrize(
    ("family", "pooling", "ways_out"),
    [
        ("BERT", "padded_last", "cls or mean"),
        ("Llama", "padded_last", "last_token or mean"),
        ("Llama", "cls", "last_token or mean"),
    ],
)
def test_a_pooling_that_the_family_does_not_have(family: str, pooling: Pooling, ways_out: str, tmp_path: Path) -> None:
    folder = write_family(family, tmp_path)
    wanted = f"classifier.pooling is '{pooling}', which {family.lower()} does not have: choose {ways_out}, or auto"
    with pytest.raises(RecipeError, match=f"^{wanted}$"):
        load_backbone(folder, ("ham", "spam"), pooling=pooling, context_length=64, pad=0, seed=0)


def test_gpt2_has_no_cls() -> None:
    gpt = new_gpt(GPTConfig(context_length=9, emb_dim=8, n_heads=2, n_layers=1), seed=0)
    with pytest.raises(RecipeError, match="'cls', which gpt2 does not have: choose last_token or mean, or auto"):
        PooledGPT(gpt, pooling="cls")
