"""Logs a finished run to MLflow and Prefect, whatever was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lib.data.tables import SPLITS
from lib.evaluation.flat import metric_name
from lib.store.artifacts import Artifact
from lib.store.warnings import warnings_of
from tasks.engine.pageless import create_table_artifact
from tasks.engine.step import AnyRecipe
from tasks.record.metrics import log_curves, log_final_metrics, measured_in
from tasks.record.mlflow_run import client, set_tags
from tasks.record.pages import (
    datasets,
    digest_tags,
    log_datasets,
    log_recipe,
    log_warnings,
)
from tasks.record.view import View, save_view

Cell = str | float | int | None
SOURCE_TAG = "finetune.source_run"  # the run that trained the model, and has its curves


@dataclass(frozen=True)
class Pages:
    """What a run's pages show, taken from its artifacts."""

    metrics: Mapping[str, float]  # all final ones
    compared: Sequence[str]  # the few of them that become metrics in MLflow
    view: View  # of its experiment in MLflow
    splits: Artifact  # the run's datasets
    trained: Artifact  # with history.parquet and training.json
    evaluated: Artifact  # with figures/
    files: Sequence[tuple[Artifact, str]]  # to log to MLflow
    table: Sequence[Mapping[str, Cell]]  # of metrics, on Prefect's page
    pictures: Sequence[str]  # names of figures, on Prefect's page
    logged_tables: Mapping[str, Any] = field(default_factory=dict)  # in MLflow, by the name of the file
    shown_tables: Mapping[str, tuple[Sequence[Mapping[str, Cell]], str]] = field(default_factory=dict)  # in Prefect
    more: str = ""  # Markdown after the figures
    tags: Mapping[str, str] = field(default_factory=dict)


@task(
    name="track",
    task_run_name="track",
    description="Logs datasets, curves, metrics, figures and digests to the MLflow run",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def track(
    run_id: str,
    recipe: AnyRecipe,
    artifacts: Mapping[str, Artifact],
    pages_of: Callable[[Any, Mapping[str, Artifact]], Pages],
) -> Pages:
    """Logs all that the steps produced; returns what the pages show, with the final metrics."""
    tracking = client()
    pages = pages_of(recipe, artifacts)
    log_recipe(tracking, run_id, recipe)
    log_datasets(tracking, run_id, datasets(recipe.data.source, pages.splits))
    last_step = log_curves(tracking, run_id, pages.trained)
    log_final_metrics(tracking, run_id, pages.metrics, pages.compared, last_step)
    save_view(tracking, tracking.get_run(run_id).info.experiment_id, pages.view)
    tracking.log_artifacts(run_id, str(pages.evaluated.file("figures")), "figures")
    for artifact, name in pages.files:
        tracking.log_artifact(run_id, str(artifact.file(name)))
    for name, table in pages.logged_tables.items():
        tracking.log_table(run_id, table, name)
    log_warnings(tracking, run_id, warnings_of(artifacts.values()))
    set_tags(tracking, run_id, digest_tags(artifacts) | {SOURCE_TAG: measured_in(pages.trained)} | dict(pages.tags))
    shown = {"metrics": (pages.table, f"Metrics of {recipe.name}, over all rows of each split"), **pages.shown_tables}
    for key, (rows, description) in shown.items():
        create_table_artifact([dict(row) for row in rows], key=key, description=description)
    return pages


def by_split(names: Sequence[str], metrics: Mapping[str, float]) -> list[dict[str, Cell]]:
    """Returns a row for each of these metrics, with its value on each split."""
    return [
        {"metric": name, **{split: rounded(metrics.get(metric_name(split, name))) for split in SPLITS}}
        for name in names
    ]


def rounded(value: float | None) -> float | None:
    """Rounds for tables that people read."""
    return None if value is None else round(value, 4)
