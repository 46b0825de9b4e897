"""The MLflow run of a flow when MLflow itself fails: real databases that break while they are in use."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

import tasks.record.curves
from flows.run.delivery import deliver_all
from lib.errors import ServiceError, SourceError
from tasks.record.curves import LiveCurves
from tasks.record.live import PrefectProgress
from tasks.record.mlflow_run import client, experiment_id
from tasks.record.outbox import Outbox, Record, new_record
from tasks.record.recording import recorded, waits_in_words
from tasks.registry.models import KIND_TAG
from tasks.use.predict import predict
from tests.support.e2e import free_port

pytestmark = pytest.mark.slow

EXPERIMENT = "finetune-classifier"


@pytest.fixture
def database(new_home: Path) -> Path:
    """The local database of a home of its own."""
    return new_home / "mlflow.db"


@pytest.fixture
def tracking(database: Path) -> MlflowClient:
    return client()


@contextmanager
def broken(database: Path, table: str) -> Iterator[None]:
    """While the block runs, requests that touch this table fail."""
    with sqlite3.connect(database) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO away")
    yield
    with sqlite3.connect(database) as connection:
        connection.execute(f"ALTER TABLE away RENAME TO {table}")


def test_a_run_whose_work_is_done_ends_well_though_mlflow_is_not_told(
    tracking: MlflowClient, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as afterwards, recorded(a_record()) as recording:
        afterwards.enter_context(broken(database, "runs"))
    assert Outbox().ids() == [recording.record.id]
    assert f"its record {recording.record.id} waits in the outbox" in waits_in_words(recording)
    assert [(each.record.id, each.why_not) for each in deliver_all()] == [(recording.record.id, "")]
    (run,) = all_runs(tracking)
    assert (run.info.run_id, run.info.status) == (recording.record.run, "FINISHED")
    assert Outbox().ids() == []


def test_the_error_of_a_run_survives_a_failure_of_mlflow(
    tracking: MlflowClient, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as afterwards, caplog.at_level(logging.WARNING):

        def fail_without_mlflow() -> None:
            with recorded(a_record()):
                afterwards.enter_context(broken(database, "tags"))
                raise SourceError("no such file")

        with pytest.raises(SourceError, match="no such file"):
            fail_without_mlflow()
    assert "MLflow does not have all of this run yet" in caplog.text
    assert [each.why_not for each in deliver_all()] == [""]
    (run,) = all_runs(tracking)
    assert (run.info.status, run.data.tags["finetune.error"]) == ("FAILED", "no such file")


def a_record() -> Record:
    return new_record(experiment=EXPERIMENT, name="a run", params={"a.param": 1}, tags={"a tag": "b"})


def all_runs(tracking: MlflowClient) -> list[Run]:
    return list(tracking.search_runs([experiment_id(tracking, EXPERIMENT)]))


def row(step: int) -> dict[str, Any]:
    return {"step": step, "seconds": step / 2, "train_loss": 1 / step}


def curve(tracking: MlflowClient, run: str) -> list[int]:
    return sorted(metric.step for metric in tracking.get_metric_history(run, "train/loss"))


@pytest.fixture
def run(tracking: MlflowClient) -> str:
    return str(tracking.create_run(experiment_id(tracking, EXPERIMENT)).info.run_id)


def live(tracking: MlflowClient, run: str, warn: Callable[[str], None] = lambda sentence: None) -> LiveCurves:
    return LiveCurves(lambda: (tracking, run), 1_700_000_000_000, warn)


def test_lost_requests_while_training_warn_once_and_keep_their_rows(
    tracking: MlflowClient, database: Path, run: str, monkeypatch: pytest.MonkeyPatch, warnings_heard: list[str]
) -> None:
    monkeypatch.setattr(tasks.record.curves, "AFTER_FAILURE_SECONDS", 0.0)  # each row is a request
    monkeypatch.setattr(tasks.record.curves, "REST", 0.0)
    log = live(tracking, run, warnings_heard.append)
    with broken(database, "metrics"):
        log(row(1))
        log(row(2))
    assert len(warnings_heard) == 1
    assert "MLflow did not take the curves" in warnings_heard[0]
    assert curve(tracking, run) == []
    log(row(3))
    assert curve(tracking, run) == [1, 2, 3]


def test_after_a_lost_request_a_while_passes_before_the_next(tracking: MlflowClient, database: Path, run: str) -> None:
    log = live(tracking, run)
    with broken(database, "metrics"):
        log(row(1))
    log(row(2))
    log.send()
    assert curve(tracking, run) == []


def test_the_last_rows_are_sent_at_once_unless_mlflow_has_failed(tracking: MlflowClient, run: str) -> None:
    log = live(tracking, run)
    log(row(1))
    log(row(2))
    assert curve(tracking, run) == [1]
    log.send()
    assert curve(tracking, run) == [1, 2]


def test_rows_that_cannot_be_sent_at_the_end_never_end_a_training(
    tracking: MlflowClient, database: Path, run: str
) -> None:
    log = live(tracking, run)
    with broken(database, "metrics"):
        log(row(1))
        log.send()
    assert curve(tracking, run) == []


@pytest.mark.filterwarnings("ignore:Artifact creation outside")
def test_a_progress_page_that_is_lost_warns_once_and_training_goes_on(warnings_heard: list[str]) -> None:
    shown: list[int] = []
    progress = PrefectProgress("finetune", lambda done, total, unit: shown.append(done), warnings_heard.append)
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        progress(1, 2, "steps")
        progress(2, 2, "steps")  # the last is always shown
    assert shown == [1, 2]
    assert len(warnings_heard) == 1
    assert warnings_heard[0].startswith("Prefect's page could not be told how far fine-tuning is")


def test_a_deleted_experiment_is_restored(tracking: MlflowClient) -> None:
    first = experiment_id(tracking, EXPERIMENT)
    tracking.delete_experiment(first)
    assert experiment_id(tracking, EXPERIMENT) == first
    with recorded(a_record()) as recording:
        pass
    assert tracking.get_run(recording.record.run).info.status == "FINISHED"


def test_files_of_runs_in_another_database_lie_in_the_home(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    tracking = client()
    place = tracking.get_experiment(experiment_id(tracking, EXPERIMENT)).artifact_location
    assert place == (database.parent / "mlartifacts").as_uri()


def test_a_damaged_database_is_one_sentence(database: Path) -> None:
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(ServiceError) as refused:
        client()
    assert str(refused.value) == (
        f"MLflow cannot use {database} (file is not a database): let it be written if it may not be, or move it away,"
        " and the next run begins a new one without the runs and registered models in it"
    )


def test_a_classifier_whose_files_are_gone_is_one_sentence(
    tracking: MlflowClient, database: Path, run: str, tmp_path: Path
) -> None:
    tracking.create_registered_model("mine", tags={KIND_TAG: "classifier"})
    version = tracking.create_model_version("mine", source=(tmp_path / "gone").as_uri(), run_id=run)
    tracking.set_registered_model_alias("mine", "champion", version.version)
    with pytest.raises(ServiceError) as refused:
        predict(["hello"])
    assert str(refused.value).startswith("the classifier models:/mine/1 cannot be loaded (")
    assert "\n" not in str(refused.value)
