"""What MLflow is told of a comparison: a run of its own for it, and below that one for each training.

All of it is told from the record, the store and the comparison's folder, at once or later, as with any other run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lib.evaluation.classify.validated import validated_metrics
from lib.evaluation.flat import metric_name
from lib.files.jsonfile import load_json
from lib.model.weights.saved import COST
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from tasks.compare.names import COMPARISON_TAG, MEASURES, PARENT_TAG, VARIANT_TAG
from tasks.environment import home
from tasks.record.metrics import CURVES, log_curves, log_final_metrics, run_called
from tasks.record.mlflow_run import log_table, set_tags
from tasks.record.outbox import Record, artifacts_of
from tasks.record.pages import digest_tags, log_recipe
from tasks.record.recording import Recording
from tasks.record.view import View, save_view

TABLE = "comparison.parquet"  # in a comparison's folder; in MLflow a table that its pages show
SHOWN_TABLE = "comparison.json"
VIEW = View(
    columns={
        ("metrics", "validation/accuracy"): 140,
        ("metrics", "validation/f1"): 110,
        ("metrics", "validation/log_loss"): 140,
        ("metrics", "cost/seconds"): 110,
        ("metrics", "test/accuracy"): 110,
        ("tags", VARIANT_TAG): 220,
    },
    charts=CURVES,
)


def folder_of(record: Record) -> Path:
    """Returns where a comparison's page, table and pictures lie on this machine."""
    return home() / "comparisons" / record.id


def measured_by(own: Mapping[str, Artifact]) -> Artifact:
    """Returns the artifact with what a training's classifier was measured at."""
    return next(artifact for name, artifact in own.items() if name in MEASURES)


def cost_of(own: Mapping[str, Artifact]) -> dict[str, Any]:
    """Returns what a training took: seconds, bytes of memory at its peak, and how many parameters there are and learn;
    without those that nobody noted."""
    trained = own.get("finetune", measured_by(own))
    cost: dict[str, Any] = load_json(trained.file(COST)) if trained.has(COST) else {}
    facts = load_json(trained.file("training.json")) if trained.has("training.json") else {}
    return {**cost, **{name: facts[name] for name in ("parameters", "trainable_parameters") if name in facts}}


def metrics_of(own: Mapping[str, Artifact]) -> dict[str, float]:
    """Returns what MLflow shows of a training: figures on the messages that all are compared on, and its cost."""
    figures = validated_metrics(measured_by(own).folder)
    measured = {metric_name("validation", name): value for name, value in figures.items()}
    cost = {metric_name("cost", name): float(value) for name, value in cost_of(own).items() if value is not None}
    return {**measured, **cost}


def tell_training(recording: Recording) -> None:
    """Tells what a training came to; done again, it changes nothing. Raises `FAILURES`."""
    tracking, run_id = recording.open()
    record, made = recording.record, artifacts_of(recording.record)
    put_below(recording)
    run = tracking.get_run(run_id)
    log_recipe(tracking, run_id, ClassifyRecipe.model_validate(record.recipe))
    curves = log_curves(tracking, run, made["finetune"], record.started) if "finetune" in made else None
    own = {name: artifact for name, artifact in made.items() if name in {"finetune", *MEASURES}}
    metrics = metrics_of(own) if own else {}  # nothing of one that was pruned
    ends = [] if curves is None else [name for names in CURVES.values() for name in names]
    at = record.started if record.measured is None else record.measured
    compared = [name for name in metrics if name not in ends]
    log_final_metrics(tracking, run_id, metrics, compared, at=at, curves=curves)
    set_tags(tracking, run_id, digest_tags(made))


def tell_comparison(recording: Recording) -> None:
    """Tells what a comparison came to, from its folder; done again, it changes nothing. Raises `FAILURES`."""
    tracking, run_id = recording.open()
    folder = folder_of(recording.record)
    save_view(tracking, recording.experiment, VIEW)
    if not folder.is_dir():  # it failed before there was anything to say, or somebody removed it
        return
    tracking.log_artifacts(run_id, str(folder))
    log_table(tracking, run_id, pd.read_parquet(folder / TABLE), SHOWN_TABLE)


def put_below(recording: Recording) -> None:
    """Puts a training's run below the comparison's, once MLflow has that."""
    tracking, run_id = recording.open()
    above = run_called(tracking, recording.record.tags[COMPARISON_TAG], recording.experiment)
    if above is not None:
        set_tags(tracking, run_id, {PARENT_TAG: above.info.run_id})
