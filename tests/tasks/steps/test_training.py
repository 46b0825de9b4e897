"""The device that a step runs on is part of its key, as the machine that computes has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.data.tables import SPLITS
from lib.model.machine import device
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from tasks.engine.step import AnyRecipe, Step
from tasks.steps.classify.evaluate import evaluate
from tasks.steps.classify.features import features
from tasks.steps.classify.finetune import finetune
from tasks.steps.classify.tokenize import tokenize
from tasks.steps.instruct.evaluate import evaluate_answers
from tasks.steps.instruct.finetune import finetune_instructions
from tasks.steps.instruct.respond import respond
from tasks.steps.training import training_settings

CLASSIFY = (features, finetune, evaluate)
INSTRUCT = (finetune_instructions, respond, evaluate_answers)


def recipe(of: Step, setting: str) -> AnyRecipe:
    fields: dict[str, Any] = {"data": {"source": "sample"}, "training": {"device": setting}}
    if of in INSTRUCT:
        return InstructRecipe.model_validate(fields)
    return ClassifyRecipe.model_validate({**fields, "classifier": {"trainable": "last_block"}})


def ingredients(of: Step, setting: str, folder: Path) -> dict[str, Any]:
    """Those of a step on the same inputs; of features, with what their key is made of."""
    shape = {"vocab_size": 50257, "n_positions": 64, "n_embd": 8, "n_layer": 2, "n_head": 1}
    (folder / "config.json").write_text(json.dumps(shape))
    lengths = {split: {"tokens": 100} for split in (*SPLITS, "reserve")}
    (folder / "tokens.json").write_text(json.dumps({"splits": lengths}))
    made = {name: Artifact(step=name, key="0" * 32, digest=name, folder=folder) for name in ("backbone", "tokenize")}
    return of.ingredients(recipe(of, setting), made)


@pytest.mark.parametrize("of", [*CLASSIFY, *INSTRUCT], ids=lambda of: of.name)
def test_auto_means_what_this_machine_has(of: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_cuda", lambda: False)
    here = ingredients(of, "auto", tmp_path)
    assert here["identity"]["device"] == "cpu"
    assert ingredients(of, "cpu", tmp_path) == here
    monkeypatch.setattr(device, "has_cuda", lambda: True)
    there = ingredients(of, "auto", tmp_path)
    assert there["identity"]["device"] == "cuda"
    assert ingredients(of, "cuda", tmp_path) == there != here
    assert ingredients(of, "cpu", tmp_path) == here


def test_a_step_that_runs_no_network_has_one_key_for_every_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ingredients(tokenize, "auto", tmp_path)
    monkeypatch.setattr(device, "has_cuda", lambda: True)
    assert ingredients(tokenize, "auto", tmp_path) == here


def test_a_training_runs_on_the_device_of_its_key() -> None:
    chosen = recipe(finetune, "auto").training
    assert training_settings(chosen, "cuda").device == "cuda"
    assert training_settings(chosen, "cuda").epochs == chosen.epochs


def test_a_torch_without_cuda_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's own name
            return 0

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 1
            return 0

    monkeypatch.setattr("ctypes.CDLL", lambda name: Driver())
    for version, expected in (("2.13.0", True), ("2.13.0+cu130", True), ("2.13.0+cpu", False)):
        monkeypatch.setattr("importlib.metadata.version", lambda package, version=version: version)
        assert device.has_cuda() is expected
