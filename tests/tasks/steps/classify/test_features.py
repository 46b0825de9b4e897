"""The step features: what its key is made of, what two recipes share, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lib.data.parts import save_parts
from lib.data.tables import SPLITS, TOKENS
from lib.model.features import parts
from lib.model.features.file import Features
from lib.model.features.inputs import split_inputs
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.weights import save_gpt
from lib.model.places import GPT2
from lib.progress import Progress, silent
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from lib.text.token_rows import TokenRows
from tasks.engine.runner import Explainer
from tasks.engine.step import Run
from tasks.steps.classify.features import features
from tasks.steps.tokenizer import tokenizer
from tests.support.recipes import build_recipe

SEQUENCES = [[5, 6, 7], [8], [9, 10, 11, 12]]
IDS = [3, 1, 2]
RUN = (*SPLITS, "reserve")  # what is run where the reserve is evaluated too


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Artifact]:
    """A backbone of three blocks with its tokenizer, and the same three messages in every split and the reserve."""
    folders = {name: tmp_path / name for name in ("backbone", "tokenize")}
    for folder in folders.values():
        folder.mkdir()
    save_gpt(new_gpt(GPTConfig(context_length=8, emb_dim=8, n_heads=2, n_layers=3), seed=1), folders["backbone"])
    table = pd.DataFrame({"id": IDS, "tokens": SEQUENCES, "target": [0, 1, 0]})
    for name in RUN:
        save_parts(table, folders["tokenize"] / name, TOKENS, labels=["ham", "spam"])
    lengths = {name: {"tokens": 8} for name in RUN}
    (folders["tokenize"] / "tokens.json").write_text(json.dumps({"splits": lengths}))
    facts = {"network": GPT2, "width": 8, "depth": 3, "pooling": "last_token", "uncut": None, "head": None}
    (folders["backbone"] / "backbone.json").write_text(json.dumps(facts))
    made = {name: Artifact(step=name, key="k", digest=name).in_folder(folder) for name, folder in folders.items()}
    return {"tokenizer": tokenizer._run(Run(recipe()), tokenizer.ingredients(recipe(), {}), {}), **made}


def recipe(**sections: dict[str, Any]) -> ClassifyRecipe:
    sections["classifier"] = {"trainable": "last_block"} | sections.get("classifier", {})
    sections["training"] = {"device": "cpu"} | sections.get("training", {})
    return build_recipe({"data": {"source": "sample"}, **sections})


def made(chosen: ClassifyRecipe, inputs: dict[str, Artifact], progress: Progress = silent) -> Artifact:
    return features._run(Run(chosen, progress=progress), features.ingredients(chosen, inputs), inputs)


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"learning_rate": 1e-3, "epochs": 9, "seed": 7, "batch_size": 2, "keep": "best"}},
        {"training": {"feature_cache": "on", "feature_budget": 1.0, "feature_dtype": "float32"}},
        {"classifier": {"pooling": "mean", "padding": "longest"}},
        {"classifier": {"trainable": "lora"}, "lora": {"blocks": 1, "rank": 3, "layers": ["attention.qkv"]}},
        {"evaluation": {"baseline": False}},
    ],
)
def test_recipes_that_differ_behind_the_cut_share_features(inputs: dict[str, Artifact], sections: Any) -> None:
    assert features.ingredients(recipe(**sections), inputs) == features.ingredients(recipe(), inputs)


@pytest.mark.parametrize(
    "sections",
    [
        {"classifier": {"trainable": "head"}},
        {"classifier": {"trainable": "last_two_blocks"}},
        {"classifier": {"trainable": "all"}},
        {"training": {"feature_dtype": "bfloat16"}},
        {"training": {"feature_cache": "off"}},
        {"model": {"causal_mask": False}},
        {"evaluation": {"natural_prevalence": False}},
    ],
)
def test_what_changes_features_changes_their_key(inputs: dict[str, Artifact], sections: Any) -> None:
    assert features.ingredients(recipe(**sections), inputs) != features.ingredients(recipe(), inputs)


@pytest.mark.parametrize(("setting", "kind"), [("on", Features), ("off", TokenRows)])
def test_a_split_is_trained_on_as_features_where_they_are_kept(
    inputs: dict[str, Artifact], setting: str, kind: type
) -> None:
    artifact = made(recipe(training={"feature_cache": setting}), inputs)
    found = split_inputs(inputs["tokenize"].folder, artifact.folder, "test")
    assert isinstance(found, kind)
    assert [len(each) for each in found] == [3, 1, 4]


def test_a_reserve_that_is_not_evaluated_is_not_run(inputs: dict[str, Artifact]) -> None:
    artifact = made(recipe(evaluation={"natural_prevalence": False}), inputs)
    assert not artifact.file("reserve").exists()
    assert isinstance(split_inputs(inputs["tokenize"].folder, artifact.folder, "reserve"), TokenRows)


def test_splits_that_were_finished_before_an_interruption_are_not_computed_again(inputs: dict[str, Artifact]) -> None:
    seen: list[int] = []

    def killed(done: int, total: int | None, unit: str) -> None:
        assert (total, unit) == (32, "tokens")
        seen.append(done)
        if done == 16:  # the second of four splits is done, and not yet in place
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(recipe(), inputs, killed)
    later: list[int] = []
    artifact = made(recipe(), inputs, lambda done, total, unit: later.append(done))
    assert seen[:1] == [8]
    assert later == [16, 24, 32]
    assert {f"{file.relative_to(artifact.folder)}" for file in artifact.folder.rglob("*.*")} == {
        *(f"{name}/part-00000.safetensors" for name in RUN),
        "features.json",
        "manifest.json",
    }


def test_parts_have_a_bounded_number_of_rows(
    inputs: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(split_inputs(inputs["tokenize"].folder, made(recipe(), inputs).folder, "test"))
    monkeypatch.setattr(parts, "ROWS_PER_PART", 2)
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "another"))
    artifact = made(recipe(), inputs)
    found = split_inputs(inputs["tokenize"].folder, artifact.folder, "test")
    assert [file.name for file in sorted(artifact.file("test").iterdir())] == [
        "part-00000.safetensors",
        "part-00001.safetensors",
    ]
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_an_explanation_waits_for_what_the_key_is_made_of(inputs: dict[str, Artifact]) -> None:
    made(recipe(), inputs)
    explain = Explainer(Run(recipe()))
    explain.found |= {name: inputs[name] for name in ("tokenizer", "tokenize")}  # and no backbone
    explain(features)
    (forecast,) = explain.forecasts
    assert (forecast.would, forecast.reasons) == ("depend", ("reused if backbone comes out the same",))
