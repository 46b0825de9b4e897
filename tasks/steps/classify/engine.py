"""Chooses what the classifier is served with."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from lib.data.tokens import load_tokens
from lib.extras import ONNX_PACKAGES, installed
from lib.files.jsonfile import save_json
from lib.inference.engines.engine import ONNXRUNTIME, TORCH
from lib.inference.engines.saved import TABLE, SavedEngine
from lib.model.labels import Targets
from lib.model.machine.processor import processor
from lib.text.windows import Texts, rows_of, take
from tasks.engine.step import Work, step
from tasks.steps.classify.decision import FIELDS, wanted
from tasks.steps.training import device_identity

if TYPE_CHECKING:
    from lib.export.candidates import Sample
    from lib.recipes.classifier import Serving
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Inputs

MOST_MESSAGES = 1000  # that candidates are measured with, and as many that int8 is calibrated with


def _torch_is_named(serving: Serving) -> bool:
    """Whether nothing has to be made or measured, for which torch would be imported."""
    return serving.is_named and serving.engine != ONNXRUNTIME


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:
    """Returns what the choice depends on besides the classifier: packages, and where speed is measured the machine."""
    serving = recipe.serving
    if _torch_is_named(serving):
        return {}
    versions = {name: metadata.version(name) if installed([name]) else "not installed" for name in ONNX_PACKAGES}
    packages = {**versions, "torch": metadata.version("torch")}
    return packages if serving.is_named else {**packages, **device_identity(recipe, inputs), "processor": processor()}


@step(
    "engine",
    reads=["serving", "classifier.pooling", *FIELDS],
    unkeyed=["training.device"],
    identity=_identity,
    noted=(TABLE,),  # seconds differ each time
    tags=["gpu"],
)
def engine(work: Work[ClassifyRecipe], tokenize: Artifact, finetune: Artifact) -> None:
    """Makes what the classifier could be served with, measures it on validation messages, and keeps what is chosen:
    `engine.json`, `model.onnx` if there is one, and `engines.json`."""
    serving = work.recipe.serving
    if _torch_is_named(serving):
        SavedEngine(TORCH, serving.precision).save(work.folder)
        save_json({"chosen": f"{TORCH} {serving.precision}", "candidates": []}, work.folder / TABLE)
        return
    from lib.export.candidates import forms, write_engine  # here, because it imports torch

    device = work.identity.get("device", "cpu")
    onnx = device == "cpu" and installed(ONNX_PACKAGES) and work.recipe.classifier.pooling != "padded_last"
    table = write_engine(
        finetune.folder,
        work.folder,
        forms(serving.engine, serving.precision, onnx=onnx),
        lambda: _sample(work.recipe, tokenize),
        largest_flip_share=serving.largest_flip_share,
        device=device,
        progress=work.progress,
    )
    for row in table["candidates"]:
        if row["refused"] is not None:
            work.log.info("not served with %s: %s", row["name"], row["refused"])
    work.log.info("served with %s", table["chosen"])


def _sample(recipe: ClassifyRecipe, tokenize: Artifact) -> Sample:
    """Returns at most `MOST_MESSAGES` validation messages, and as many training messages, evenly chosen."""
    from lib.export.candidates import Sample

    texts, targets = _some(tokenize, "validation")
    return Sample(
        texts=texts,
        targets=targets,
        calibration=rows_of(_some(tokenize, "train")[0]),
        wanted=wanted(recipe.evaluation),
    )


def _some(tokenize: Artifact, split: str) -> tuple[Texts, Targets]:
    read = load_tokens(tokenize.folder, split)
    count = len(read.texts)
    chosen = np.linspace(0, count - 1, min(MOST_MESSAGES, count)).astype(int).tolist()
    return take(read.texts, chosen), read.targets[chosen]
