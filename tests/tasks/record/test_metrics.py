"""A run's numbers in MLflow: where the curves are, which metrics there are, and the view of a list of runs."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from lib.store.artifacts import Artifact, Store
from lib.training.history import Row, history_table, write_history
from tasks.environment import store_folder
from tasks.record.metrics import has_run, log_curves, log_final_metrics
from tasks.record.mlflow_run import client, experiment_id
from tasks.record.view import TAG, View, runs_page, save_view

pytestmark = pytest.mark.slow

ROWS: list[Row] = [
    {
        "step": step,
        "epoch": step / 2,
        "examples_seen": 8 * step,
        "tokens_seen": 80 * step,
        "seconds": 1.0,
        "learning_rate": 1e-3,
        "train_loss": 1 / step,
        "train_accuracy": 0.5,
    }
    for step in (1, 2, 3)
]
METRICS = {"train/accuracy": 0.75, "test/accuracy": 0.5, "test/mcc": 0.25}


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return client()


def new_run(tracking: MlflowClient) -> str:
    return str(tracking.create_run(experiment_id(tracking, "finetune-classifier")).info.run_id)


def trained_in(run: str) -> Artifact:
    """The artifact of a training that this run did."""
    store = Store(store_folder())
    key = "0" * 64
    with store.write("finetune", key, {}, notes={"tracking_run": run}) as folder:
        write_history(history_table(ROWS, ["accuracy"]), folder / "history.parquet")
    found = store.find("finetune", key)
    assert found is not None
    return found


def steps(tracking: MlflowClient, run: str) -> list[int]:
    return sorted(metric.step for metric in tracking.get_metric_history(run, "train/loss"))


def test_curves_of_a_training_are_in_the_run_that_trained_alone(tracking: MlflowClient) -> None:
    source, again = new_run(tracking), new_run(tracking)
    trained = trained_in(source)
    assert log_curves(tracking, source, trained) == 3
    assert log_curves(tracking, again, trained) is None
    assert steps(tracking, again) == []


def test_curves_whose_run_was_deleted_are_logged_by_the_next(tracking: MlflowClient) -> None:
    source, again = new_run(tracking), new_run(tracking)
    trained = trained_in(source)
    tracking.delete_run(source)
    assert log_curves(tracking, again, trained) == 3
    assert steps(tracking, again) == [1, 2, 3]


def test_a_run_is_unknown_only_where_mlflow_says_so(tracking: MlflowClient, tmp_path: Path) -> None:
    run = new_run(tracking)
    assert has_run(tracking, run)
    assert not has_run(tracking, "0" * 32)
    with sqlite3.connect(tmp_path / "home" / "mlflow.db") as connection:
        connection.execute("ALTER TABLE runs RENAME TO away")
    with pytest.raises(MlflowException):
        has_run(tracking, run)


@pytest.mark.parametrize("last_step", [3, None], ids=["with curves", "without"])
def test_few_numbers_are_metrics_and_all_are_in_a_table(
    tracking: MlflowClient, tmp_path: Path, last_step: int | None
) -> None:
    run = new_run(tracking)
    log_final_metrics(tracking, run, METRICS, ["test/accuracy", "test/f1"], last_step)
    compared = {"test/accuracy": 0.5}
    assert tracking.get_run(run).data.metrics == compared | ({} if last_step is None else {"train/accuracy": 0.75})
    table = Path(tracking.download_artifacts(run, "all_metrics.json", str(tmp_path)))
    assert dict(json.loads(table.read_text())["data"]) == METRICS


def test_the_list_of_runs_is_opened_in_a_view_once_there_is_one(tracking: MlflowClient) -> None:
    experiment = experiment_id(tracking, "finetune-classifier")
    page = f"/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert runs_page(tracking, experiment) == page
    save_view(tracking, experiment, View({("metrics", "test/f1"): 90, ("tags", "a tag"): 80}, {"loss": ("a", "b")}))
    assert runs_page(tracking, experiment) == f"{page}&viewStateShareKey=finetune"
    saved = json.loads(tracking.get_experiment(experiment).tags[TAG])
    state = json.loads(saved["state"])
    assert state["selectedColumns"] == ["metrics.`test/f1`", "tags.`a tag`", "attributes.`Models`"]
    assert state["columnWidths"] == {"metrics.`test/f1`": 90, "tags.`a tag`": 80}
    assert [chart["selectedMetricKeys"] for chart in state["compareRunCharts"]] == [["a", "b"]]
