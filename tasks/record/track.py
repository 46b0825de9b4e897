"""Logs a finished run to MLflow and Prefect, whatever was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tasks.record.metrics import SOURCE_TAG, log_curves, log_final_metrics, measured_in, run_called
from tasks.record.mlflow_run import log_table, set_tags
from tasks.record.pages import (
    datasets,
    digest_tags,
    log_datasets,
    log_recipe,
    log_warnings,
)
from tasks.record.recording import Recording
from tasks.record.view import View, save_view
from tasks.secrets import secrets_kept

Cell = str | float | int | None


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
@secrets_kept()
def track(recording: Recording, recipe: AnyRecipe, artifacts: Mapping[str, Artifact], pages: Pages) -> None:
    """Logs all that the steps produced; done again, it changes nothing. Raises `FAILURES`."""
    tracking, run_id = recording.open()
    run, record = tracking.get_run(run_id), recording.record
    log_recipe(tracking, run_id, recipe)
    log_datasets(tracking, run_id, datasets(recipe.data.source, pages.splits))
    curves = log_curves(tracking, run, pages.trained, record.started)
    at = record.started if record.measured is None else record.measured
    log_final_metrics(tracking, run_id, pages.metrics, pages.compared, at=at, curves=curves)
    save_view(tracking, run.info.experiment_id, pages.view)
    tracking.log_artifacts(run_id, str(pages.evaluated.file("figures")), "figures")
    for artifact, name in pages.files:
        tracking.log_artifact(run_id, str(artifact.file(name)))
    for name, table in pages.logged_tables.items():
        log_table(tracking, run_id, table, name)
    log_warnings(tracking, run_id, warnings_of(artifacts.values()))
    source = run_called(tracking, measured_in(pages.trained), run.info.experiment_id)
    trained_by = measured_in(pages.trained) if source is None else source.info.run_id
    set_tags(tracking, run_id, digest_tags(artifacts) | {SOURCE_TAG: trained_by} | dict(pages.tags))


def show_tables(recipe: AnyRecipe, pages: Pages) -> None:
    """Shows a run's tables on Prefect's page."""
    shown = {"metrics": (pages.table, f"Metrics of {recipe.name}, over all rows of each split"), **pages.shown_tables}
    for key, (rows, description) in shown.items():
        create_table_artifact([dict(row) for row in rows], key=key, description=description)


def by_split(names: Sequence[str], metrics: Mapping[str, float]) -> list[dict[str, Cell]]:
    """Returns a row for each of these metrics, with its value on each split."""
    return [
        {"metric": name, **{split: rounded(metrics.get(metric_name(split, name))) for split in SPLITS}}
        for name in names
    ]


def rounded(value: float | None) -> float | None:
    """Rounds for tables that people read."""
    return None if value is None else round(value, 4)
