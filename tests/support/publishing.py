"""Publishes classifiers from this process as the flow does, without running the flow's other steps.

The classifiers are those of the finished run, or variants of it whose answers are known in advance.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from prefect import flow
from prefect.transactions import transaction
from safetensors.torch import load_file, save_file

from lib.evaluation.classify.findings import Findings
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from tasks.environment import store_folder
from tasks.registry.candidates import classifier_candidate
from tasks.registry.decide import decide
from tasks.registry.promote import Decided, promote
from tasks.registry.register import Registered, publishing, register
from tests.support.e2e import PROJECT, QUICK, experiment_id
from tests.support.recipes import load_recipe

EXPERIMENT = "finetune-classifier"
HEAD_BIAS = "score.bias"  # a saved one has none: it is part of the final norm


def recipe(name: str, **overrides: Any) -> ClassifyRecipe:
    """The quick recipe under another registered name; overrides with `__` for dots."""
    quick = dict(flag.removeprefix("--").split("=", 1) for flag in QUICK)
    more = {path.replace("__", "."): str(value) for path, value in overrides.items()}
    file = str(PROJECT / "tests" / "support" / "quick.yaml")
    return load_recipe(file, {**quick, "data.url": "small.csv", "registry.name": name, **more})


def run_of(tracking: MlflowClient) -> str:
    """The finished run's id."""
    (run,) = tracking.search_runs([experiment_id(tracking, EXPERIMENT)])
    return str(run.info.run_id)


def artifacts() -> dict[str, Artifact]:
    """The finished run's artifacts by step."""
    store = FolderStore(store_folder())
    made = {manifest.step: store.find(manifest.step, manifest.key) for manifest in store.manifests()}
    return {step: artifact for step, artifact in made.items() if artifact is not None}


def variant(
    made: dict[str, Artifact], folder: Path, *, bias: tuple[float, ...] = (), labels: tuple[str, ...] = ()
) -> Any:
    """The artifacts with another classifier: this much is added to its scores, or its labels have other names."""
    original = made["finetune"]
    shutil.copytree(original.folder, folder)
    if bias:
        weights = load_file(folder / "model.safetensors")
        assert HEAD_BIAS not in weights
        save_file({**weights, HEAD_BIAS: torch.tensor(bias)}, folder / "model.safetensors")
    if labels:
        (folder / "labels.json").write_text(json.dumps(labels))
    return {**made, "finetune": original.model_copy(update={"digest": folder.name}).in_folder(folder)}


def deciding(made: dict[str, Artifact], folder: Path, **decision: Any) -> dict[str, Artifact]:
    """The artifacts with an evaluation that decided otherwise; `folder` is made for it."""
    shutil.copytree(made["evaluate"].folder, folder)
    findings = Findings.load(folder)
    replace(findings, decision=replace(findings.decision, **decision)).save(folder)
    return {**made, "evaluate": made["evaluate"].in_folder(folder)}


@flow
def publish(
    run_id: str,
    chosen: ClassifyRecipe,
    made: dict[str, Artifact],
    version: str | None = None,
    lost: bool = False,
) -> Registered:
    """What the flow does at its end; with a `version`, that one is promoted instead of what was registered.

    `lost`: it fails when all is done but the transaction's end.
    """
    with publishing(chosen.registry.name), transaction():
        candidate = classifier_candidate(chosen, made)
        registered = register(run_id, candidate)
        decided: Decided | None = decide(registered, candidate, chosen, made, run_id)
        promoted = promote(registered.model_copy(update={"version": version or registered.version}), decided)
        if lost:
            raise ConnectionError("Prefect is gone")
        return promoted


def decision(tracking: MlflowClient, registered: Registered) -> dict[str, str]:
    """What a version's tags say of its promotion, by the names behind `finetune.promotion`."""
    tags = tracking.get_model_version(registered.name, registered.version).tags
    return {
        name.removeprefix("finetune.promotion").lstrip("."): value
        for name, value in tags.items()
        if "promotion" in name
    }
