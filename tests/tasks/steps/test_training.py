"""What steps that run a network share: the device of their key, and what a training leaves."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from lib.data.tables import SPLITS
from lib.files.jsonfile import load_json
from lib.model.machine import device
from lib.progress import silent
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from lib.training.history import Row, history_checksum, history_table, read_history
from lib.training.train import Trained
from tasks.engine.step import AnyRecipe, Step, Work
from tasks.steps.classify.engine import engine
from tasks.steps.classify.evaluate import evaluate
from tasks.steps.classify.features import features
from tasks.steps.classify.finetune import finetune
from tasks.steps.classify.tokenize import tokenize
from tasks.steps.instruct.evaluate import evaluate_answers
from tasks.steps.instruct.finetune import finetune_instructions
from tasks.steps.instruct.respond import respond
from tasks.steps.training import NOTED, save_training, training_settings

CLASSIFY = (features, finetune, engine, evaluate)
INSTRUCT = (finetune_instructions, respond, evaluate_answers)


def recipe(of: Step, setting: str) -> AnyRecipe:
    fields: dict[str, Any] = {"data": {"source": "sample"}, "training": {"device": setting}}
    if of in INSTRUCT:
        return InstructRecipe.model_validate(fields)
    return ClassifyRecipe.model_validate({**fields, "classifier": {"trainable": "last_block"}})


def ingredients(of: Step, setting: str, folder: Path) -> dict[str, Any]:
    """Those of a step on the same inputs; of features, with what their key is made of."""
    facts = {"network": "gpt2", "width": 8, "depth": 2, "pooling": "last_token", "uncut": None}
    (folder / "backbone.json").write_text(json.dumps(facts))
    lengths = {split: {"tokens": 100} for split in (*SPLITS, "reserve")}
    (folder / "tokens.json").write_text(json.dumps({"splits": lengths}))
    made = {name: Artifact(step=name, key="0" * 32, digest=name).in_folder(folder) for name in ("backbone", "tokenize")}
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


def test_a_training_leaves_its_curve_its_facts_and_its_recipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows: list[Row] = [{"step": 0, "epoch": 1.0, "train_loss": 0.7, "validation_loss": 0.8, "learning_rate": 1e-3}]
    history = history_table([{"examples_seen": 8, "tokens_seen": 90, "seconds": 0.5, **row} for row in rows])
    trained = Trained(history, 0, 12, {}, ["yes"], parameters=10, trainable_parameters=4)
    recipe = {"name": "mine", "encoding": {"max_length": None}}
    work: Work[Any] = Work(recipe, recipe, tmp_path, tmp_path, logging.getLogger("test"), silent, tracking_run="")
    save_training(work, trained, max_length=77, samples=["yes"])
    assert caplog.messages == ["went on from a checkpoint after 12 batches"]
    assert load_json(tmp_path / "recipe.json") == {"name": "mine", "encoding": {"max_length": 77}}
    assert load_json(tmp_path / "training.json") == {
        "kept_row": 0,
        "history_sha256": history_checksum(history),
        "parameters": 10,
        "trainable_parameters": 4,
        "published": {},
        "samples": ["yes"],
    }
    assert read_history(tmp_path / "history.parquet").equals(history)
    assert {file.name for file in tmp_path.iterdir()} == {*NOTED, "training.json"}
