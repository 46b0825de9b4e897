"""A run's numbers in MLflow: curves once, a few that runs are compared by, and a table of all.

MLflow draws a chart for each metric and sorts their groups by name, so each group that sorts before `train` pushes the
curves down, and each metric is one more column to choose from. So few numbers are metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from lib.data.tables import SPLITS
from lib.evaluation.flat import metric_name
from lib.store.artifacts import Artifact, Store
from tasks.environment import store_folder
from tasks.record.mlflow_run import HistoryLog, log_metrics

ALL_METRICS = "all_metrics.json"  # a table in MLflow
MEASURED = ("loss", "accuracy")  # of the splits that a training looks at
CURVES = {measure: tuple(metric_name(split, measure) for split in SPLITS[:2]) for measure in MEASURED}


def measured_in(artifact: Artifact) -> str:
    """Returns the id of the MLflow run that made an artifact."""
    return str(Store(store_folder()).manifest(artifact.step, artifact.key).notes["tracking_run"])


def has_run(tracking: MlflowClient, run_id: str) -> bool:
    """Whether this MLflow has the run; not one that was deleted, or that lies on another server. Raises what MLflow
    does if it cannot say."""
    try:
        return bool(tracking.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return False


def log_curves(tracking: MlflowClient, run_id: str, trained: Artifact) -> int | None:
    """Makes sure that MLflow has a training's curves once: in the run that trained, which logged them live, or, where
    that run is not known here, in this one. Returns the last step of this run's curves; None: they are elsewhere."""
    source = measured_in(trained)
    if source != run_id and has_run(tracking, source):
        return None
    from lib.training.history import read_history

    history = read_history(trained.file("history.parquet"))
    if source != run_id:
        log = HistoryLog(tracking, run_id)
        for row in history.to_dict("records"):
            log({str(name): value for name, value in row.items()})
        log.send()
    return int(history["step"].max())


def log_final_metrics(
    tracking: MlflowClient, run_id: str, metrics: Mapping[str, float], compared: Sequence[str], last_step: int | None
) -> None:
    """Logs the metrics that runs are compared by, and a table of all.

    MLflow draws a bar for a metric with step 0 alone. Where a curve has a metric's name, the run's value is the one
    with the highest step, logged last: the figure over all rows ends the curve, in the run that has it (`last_step`).
    """
    log_metrics(tracking, run_id, {name: metrics[name] for name in compared if name in metrics}, step=0)
    if last_step is not None:
        ends = {name: metrics[name] for names in CURVES.values() for name in names if name in metrics}
        log_metrics(tracking, run_id, ends, step=last_step)
    tracking.log_table(run_id, {"metric": list(metrics), "value": list(metrics.values())}, ALL_METRICS)
