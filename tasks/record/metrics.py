"""A run's numbers in MLflow: curves once, a few that runs are compared by, and a table of all.

MLflow draws a chart for each metric and sorts their groups by name, so each group that sorts before `train` pushes the
curves down, and each metric is one more column to choose from. So few numbers are metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

from lib.data.tables import SPLITS
from lib.evaluation.flat import metric_name
from lib.store.artifacts import Artifact
from tasks.record.checked import says_missing
from tasks.record.curves import send_whole
from tasks.record.mlflow_run import RECORD_TAG, log_metrics, log_table
from tasks.store import artifact_store

ALL_METRICS = "all_metrics.json"  # a table in MLflow
SOURCE_TAG = "finetune.source_run"  # of a run: the one that trained the model, and has its curves
MEASURED = ("loss", "accuracy")  # of the splits that a training looks at
CURVES = {measure: tuple(metric_name(split, measure) for split in SPLITS[:2]) for measure in MEASURED}


def measured_in(artifact: Artifact) -> str:
    """Returns what the run that made an artifact was called then: its id in MLflow, or that of its record."""
    return str(artifact_store().manifest(artifact.step, artifact.key).notes["tracking_run"])


def run_called(tracking: MlflowClient, name: str, experiment: str) -> Run | None:
    """Returns the run that has this id, or that was made of the record with it; None if this MLflow does not have it,
    because it was deleted, lies on another server, or its record still waits. Raises what MLflow does if it cannot
    say. experiment: the id of the experiment that has runs made of records."""
    try:
        run = tracking.get_run(name)
    except MlflowException as error:
        if not says_missing(error):
            raise
        return next(iter(tracking.search_runs([experiment], f"tags.`{RECORD_TAG}` = '{name}'")), None)
    return run if run.info.lifecycle_stage == LifecycleStage.ACTIVE else None


def log_curves(tracking: MlflowClient, run: Run, trained: Artifact, began: int) -> tuple[int, int] | None:
    """Makes sure that MLflow has a training's curves, all of them and once: in the run that trained, or, where that is
    not known here, in this one. Returns the last step of this run's curves and its time; None: they are elsewhere.
    began: when this run did, in milliseconds since 1970."""
    source = run_called(tracking, measured_in(trained), run.info.experiment_id)
    if source is not None and source.info.run_id != run.info.run_id:
        return None
    return send_whole(tracking, run.info.run_id, trained, began)


def log_final_metrics(
    tracking: MlflowClient,
    run_id: str,
    metrics: Mapping[str, float],
    compared: Sequence[str],
    *,
    at: int,
    curves: tuple[int, int] | None,
) -> None:
    """Logs the metrics that runs are compared by, and a table of all. at: when they were measured, in milliseconds
    since 1970.

    MLflow draws a bar for a metric with step 0 alone. Where a curve has a metric's name, the run's value is the one
    with the highest step, logged last: the figure over all rows ends the curve, in the run that has it (`curves`: its
    last step and the time of that).
    """
    log_metrics(tracking, run_id, {name: metrics[name] for name in compared if name in metrics}, step=0, at=at)
    if curves is not None:
        last_step, last = curves
        ends = {name: metrics[name] for names in CURVES.values() for name in names if name in metrics}
        log_metrics(tracking, run_id, ends, step=last_step, at=max(at, last + 1))
    table = pd.DataFrame({"metric": list(metrics), "value": list(metrics.values())})
    log_table(tracking, run_id, table, ALL_METRICS)
