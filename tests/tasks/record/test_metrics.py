"""A run's numbers in MLflow: where the curves are, which metrics there are, and the view of a list of runs."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.training.history import Row, history_table, write_history
from tasks.environment import store_folder
from tasks.record.metrics import log_curves, log_final_metrics, run_called
from tasks.record.mlflow_run import RECORD_TAG, client, experiment_id
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
def tracking(new_home: Path) -> MlflowClient:
    return client()


BEGAN = 1_700_000_000_000


def new_run(tracking: MlflowClient, **tags: str) -> Run:
    return tracking.create_run(experiment_id(tracking, "finetune-classifier"), tags=tags)


def trained_in(run: Run | str) -> Artifact:
    """The artifact of a training that this run did."""
    store = FolderStore(store_folder())
    key = "0" * 64
    with store.write(
        "finetune", key, {}, notes={"tracking_run": run if isinstance(run, str) else run.info.run_id}
    ) as folder:
        write_history(history_table(ROWS, ["accuracy"]), folder / "history.parquet")
    found = store.find("finetune", key)
    assert found is not None
    return found


def steps(tracking: MlflowClient, run: Run) -> list[int]:
    return sorted(metric.step for metric in tracking.get_metric_history(run.info.run_id, "train/loss"))


def test_curves_of_a_training_are_in_the_run_that_trained_alone_and_once(tracking: MlflowClient) -> None:
    source, again = new_run(tracking), new_run(tracking)
    trained = trained_in(source)
    for _ in range(2):
        assert log_curves(tracking, source, trained, BEGAN) == (3, BEGAN + 1000)
    assert log_curves(tracking, again, trained, BEGAN) is None
    assert steps(tracking, source) == [1, 2, 3]
    assert steps(tracking, again) == []


def test_curves_of_a_run_that_was_only_recorded_when_it_trained_are_in_that_run(tracking: MlflowClient) -> None:
    source, again = new_run(tracking, **{RECORD_TAG: "r" * 32}), new_run(tracking)
    trained = trained_in("r" * 32)
    assert log_curves(tracking, again, trained, BEGAN) is None
    assert log_curves(tracking, source, trained, BEGAN) == (3, BEGAN + 1000)


def test_curves_whose_run_was_deleted_are_logged_by_the_next(tracking: MlflowClient) -> None:
    source, again = new_run(tracking), new_run(tracking)
    trained = trained_in(source)
    tracking.delete_run(source.info.run_id)
    assert log_curves(tracking, again, trained, BEGAN) == (3, BEGAN + 1000)
    assert steps(tracking, again) == [1, 2, 3]


def test_a_run_is_unknown_only_where_mlflow_says_so(tracking: MlflowClient, tmp_path: Path) -> None:
    run = new_run(tracking)
    found = run_called(tracking, run.info.run_id, run.info.experiment_id)
    assert found is not None
    assert found.info.run_id == run.info.run_id
    assert run_called(tracking, "0" * 32, run.info.experiment_id) is None
    with sqlite3.connect(tmp_path / "home" / "mlflow.db") as connection:
        connection.execute("ALTER TABLE runs RENAME TO away")
    with pytest.raises(MlflowException):
        run_called(tracking, run.info.run_id, run.info.experiment_id)


@pytest.mark.parametrize("last_step", [3, None], ids=["with curves", "without"])
def test_few_numbers_are_metrics_and_all_are_in_a_table(
    tracking: MlflowClient, tmp_path: Path, last_step: int | None
) -> None:
    run = new_run(tracking).info.run_id
    curves = None if last_step is None else (last_step, BEGAN + 5000)
    for _ in range(2):
        log_final_metrics(tracking, run, METRICS, ["test/accuracy", "test/f1"], at=BEGAN, curves=curves)
    compared = {"test/accuracy": 0.5}
    assert tracking.get_run(run).data.metrics == compared | ({} if last_step is None else {"train/accuracy": 0.75})
    assert len(tracking.get_metric_history(run, "test/accuracy")) == 1
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
