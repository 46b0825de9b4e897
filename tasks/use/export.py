"""Writes a registered model into a folder, in a form that other programs read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient

from lib.errors import RecipeError, ServiceError
from lib.model.usage import calibrated_here_alone, load_usage
from tasks.record.mlflow_run import client
from tasks.registry.files import model_files
from tasks.registry.models import CLASSIFIER, INSTRUCTIONS, Kind, Version, find_model, find_version
from tasks.temporary import temporary_files

Format = Literal["hf", "onnx"]


def export(
    folder: Path,
    form: Format,
    *,
    name: str | None = None,
    run: str | None = None,
    version: str | None = None,
    warn: Callable[[str], None] = lambda sentence: None,
) -> Version:
    """Writes a registered model into the new `folder`; returns which one it is.

    `name`, `run`: as in `find_model`, of either kind; a classifier is preferred. `version`: one under `name` that need
    not be the champion. `warn` is told what other programs do otherwise. Raises ServiceError if there is no such model,
    RecipeError if the folder is not empty or the form does not suit the model, WeightsError if the model cannot be
    written so.
    """
    tracking = client()
    kind, found = _find(tracking, name, run, version)
    files = model_files(tracking, kind, found)
    if form == "onnx":
        if kind != CLASSIFIER:
            raise RecipeError(f"{found.name} is an {kind.noun}, and onnx is a form of classifiers: use --format hf")
        from lib.export.onnx import export_onnx

        with temporary_files():  # the graph with its weights, until it is finished
            export_onnx(files.folder, folder)
    else:
        from lib.export.hugging_face import export_classifier, export_follower

        (export_classifier if kind == CLASSIFIER else export_follower)(files.folder, folder)
    if kind == CLASSIFIER:
        usage = load_usage(files.folder)
        for sentence in (usage.long_texts.lost_elsewhere(usage.max_length), calibrated_here_alone(files.folder)):
            if sentence:
                warn(sentence)
    return found


def _find(tracking: MlflowClient, name: str | None, run: str | None, version: str | None) -> tuple[Kind, Version]:
    refusals = []
    for kind in (CLASSIFIER, INSTRUCTIONS):
        try:
            if name is not None and version is not None:
                return kind, find_version(tracking, kind, name, version)
            return kind, find_model(tracking, kind, name=name, run=run)
        except ServiceError as error:
            refusals.append(error)
    raise refusals[0]
