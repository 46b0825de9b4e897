"""The MLflow run of a flow run: finding the server, opening and closing the run, sending history rows."""

from __future__ import annotations

import math
import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
from filelock import FileLock
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.entities import PagedList
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH
from prefect.exceptions import PrefectException, TerminationSignal
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from lib.errors import ServiceError
from lib.evaluation.flat import curve_name, metric_name
from lib.extras import require
from lib.secrets import redacted, revealed
from tasks.engine.log import run_log
from tasks.environment import (
    artifact_folder,
    home,
    local_tracking_uri,
    make_home,
    tracking_is_served,
    tracking_uri,
)
from tasks.record.database import ready_database
from tasks.record.moved import follow_files
from tasks.record.read_only import may_only_be_read, read_only_uri

# Raised when the server is gone or answers nonsense, or the database is damaged or full.
FAILURES = (MlflowException, SQLAlchemyError, ParseError)
ANSWER_SECONDS = 10  # timeout of a server's first answer
LONGEST_REASON = 200  # characters of MLflow's message in an error
SEND_SECONDS = 2.0  # between requests while training: live to a person, no load for the server
AFTER_FAILURE_SECONDS = 60.0  # the same after a lost request, which may take until MLflow's timeout
ARTIFACT_TAG = "artifact."  # tag of a run, followed by a step: the digest of its artifact
METRICS_A_REQUEST = 1000  # MLflow's limits for one log_batch
PARAMS_A_REQUEST = 100
POSTGRES = ("postgresql://", "postgresql+psycopg2://")  # addresses that SQLAlchemy opens with psycopg2


def client() -> MlflowClient:
    """Returns a client of the tracking server; the first use of a new local file creates its tables.

    Raises ServiceError if the named server does not answer as MLflow does, or if the local file cannot be used, and
    ExtraError if the driver for its database is not installed.
    """
    uri = tracking_uri()
    if uri == local_tracking_uri():
        return _local_client(uri)
    if uri.startswith(POSTGRES):
        require("psycopg2", "postgres", "MLFLOW_TRACKING_URI with a PostgreSQL server")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    try:
        _ask_once(revealed(uri))
        return _connected(revealed(uri))
    except (*FAILURES, ModuleNotFoundError) as error:
        raise ServiceError(
            f"MLflow does not answer at {uri} ({reason_of(error)}): start that server, or correct"
            " MLFLOW_TRACKING_URI, or unset it to use a local file"
        ) from None


def _local_client(uri: str) -> MlflowClient:
    database = home() / "mlflow.db"
    try:
        if may_only_be_read(database):
            return _connected(read_only_uri(database, artifact_folder()))
        make_home()
        # Two processes must not create the tables of a new file at once.
        with FileLock(home() / ".mlflow.lock"):
            ready_database(database, artifact_folder())
            tracking = _connected(uri)
            follow_files(database, artifact_folder())
            return tracking
    except (*FAILURES, sqlite3.Error) as error:
        raise ServiceError(
            f"MLflow cannot use {database} ({reason_of(error)}): let it be written if it may not be, or"
            " move it away, and the next run begins a new one without the runs and registered models in it"
        ) from None


def _connected(uri: str) -> MlflowClient:
    """Returns a client whose server has answered."""
    tracking = MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
    tracking.search_experiments(max_results=1)
    return tracking


def _ask_once(uri: str) -> None:
    """Raises if the server does not answer; MLflow itself would retry for minutes."""
    kind = uri.partition(":")[0].partition("+")[0]
    if kind in ("http", "https"):
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        http_request(credentials, "/health", "GET", max_retries=0, timeout=ANSWER_SECONDS)  # type: ignore[no-untyped-call]
    elif kind in DATABASE_ENGINES:
        create_engine(uri, poolclass=NullPool).connect().close()


def reason_of(error: BaseException) -> str:
    """Returns in one line why a server is unreachable. Prefers the system's words, such as `[Errno 111] Connection
    refused`, then those of the error's cause, then its own."""
    reason = error.__cause__ or error
    link: BaseException | None = error
    while link:
        if isinstance(link, OSError):
            reason = link
        link = link.__cause__ or link.__context__
    text = redacted(" ".join(str(reason).split())) or type(reason).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def experiment_id(tracking: MlflowClient, name: str) -> str:
    """Returns the experiment's id, creating a new experiment and restoring a deleted one."""
    found = tracking.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == LifecycleStage.DELETED:
            tracking.restore_experiment(found.experiment_id)  # a deleted experiment's name cannot be reused
        return str(found.experiment_id)
    # By default, MLflow without a server puts files into the working directory.
    place = None if tracking_is_served() else artifact_folder().as_uri()
    try:
        return str(tracking.create_experiment(name, artifact_location=place))
    except MlflowException:
        found = tracking.get_experiment_by_name(name)  # another run was faster
        if found is None:
            raise
        return str(found.experiment_id)


@contextmanager
def tracked_run(
    tracking: MlflowClient, *, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Iterator[str]:
    """Yields a run's id; it ends as FINISHED, FAILED after an exception, or KILLED after Ctrl-C or a cancellation."""
    experiment_number = experiment_id(tracking, experiment)
    close_abandoned_runs(tracking, experiment_number)
    run = tracking.create_run(experiment_number, run_name=name, tags={**tags, **_this_process()})
    run_id = str(run.info.run_id)
    try:
        entries = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS_A_REQUEST):
            tracking.log_batch(run_id, params=entries[start : start + PARAMS_A_REQUEST])
        yield run_id
    except BaseException as error:
        _close(tracking, run_id, error)
        raise
    with loss_warned("MLflow was not told that this run has ended"):
        tracking.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))


@contextmanager
def loss_warned(what: str) -> Iterator[None]:
    """Warns with `what` where MLflow or Prefect fails, for what is told when a run's work is done: by then the registry
    may have a new champion, and a failed run would deny it."""
    try:
        yield
    except (*FAILURES, ServiceError, OSError, httpx.HTTPError, PrefectException) as error:
        run_log().warning("%s (%s)", what, reason_of(error))


def _close(tracking: MlflowClient, run_id: str, error: BaseException) -> None:
    """Sets the run's final status; a failure is only a warning, because the user must see `error`."""
    ended_from_outside = isinstance(error, (KeyboardInterrupt, TerminationSignal))  # Ctrl-C, or cancelled on the page
    status = RunStatus.KILLED if ended_from_outside else RunStatus.FAILED
    try:
        tracking.set_tag(run_id, "finetune.error", redacted(str(error))[:500] or type(error).__name__)
        tracking.set_terminated(run_id, RunStatus.to_string(status))
    except FAILURES as lost:
        run_log().warning("MLflow could not be told that run %s has ended (%s)", run_id, reason_of(lost))


def _this_process() -> dict[str, str]:
    return {
        "finetune.host": socket.gethostname(),
        "finetune.process": f"{os.getpid()}@{psutil.Process().create_time():.2f}",
    }


def close_abandoned_runs(tracking: MlflowClient, experiment: str) -> None:
    """Marks FAILED the RUNNING runs whose process on this machine is gone (`kill -9`, power cut)."""
    mine = f"attributes.status = 'RUNNING' and tags.`finetune.host` = '{socket.gethostname()}'"
    for run in tracking.search_runs([experiment], filter_string=mine):
        pid, _, created = run.data.tags["finetune.process"].partition("@")
        try:
            alive = f"{psutil.Process(int(pid)).create_time():.2f}" == created
        except psutil.NoSuchProcess:
            alive = False
        if not alive:
            tracking.set_tag(run.info.run_id, "finetune.error", "the process was killed")
            tracking.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.FAILED))


class HistoryLog:
    """Sends history rows to an MLflow run in batches. Rows of a lost request wait for the next one; `warn` is called
    once."""

    def __init__(
        self, tracking: MlflowClient, run_id: str, warn: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self._tracking, self._run_id, self._warn = tracking, run_id, warn
        self._waiting: list[Metric] = []
        self._next = 0.0  # time of the next request (time.monotonic)
        self._warned = False

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Adds one row of the history: `step` is the metrics' step, NaN is left out."""
        now = int(time.time() * 1000)
        self._waiting += [
            Metric(curve_name(name), float(value), now, int(row["step"]))
            for name, value in row.items()
            if name != "step" and value is not None and not math.isnan(value)
        ]
        if time.monotonic() < self._next:
            return
        pause = SEND_SECONDS
        try:
            self._send()
        except FAILURES as error:
            pause = AFTER_FAILURE_SECONDS
            if not self._warned:
                self._warn(f"MLflow did not take the curves ({reason_of(error)}): they are kept and sent again")
                self._warned = True
        self._next = time.monotonic() + pause

    def send(self) -> None:
        """Sends the remaining rows; raises ServiceError if MLflow does not take them."""
        try:
            self._send()
        except FAILURES as error:
            raise ServiceError(
                f"MLflow at {tracking_uri()} does not take the curves ({reason_of(error)}): see that"
                " it works and run again, which goes on from the last checkpoint"
            ) from None

    def _send(self) -> None:
        while self._waiting:
            self._tracking.log_batch(self._run_id, metrics=self._waiting[:METRICS_A_REQUEST])
            del self._waiting[:METRICS_A_REQUEST]


def artifacts_of_runs() -> set[tuple[str, str]]:
    """Returns step and digest of the artifacts behind all runs, including deleted runs of registered versions. Creates
    no database; raises ServiceError if MLflow does not answer."""
    if tracking_uri() == local_tracking_uri() and not (home() / "mlflow.db").exists():
        return set()
    tracking = client()
    experiments = [each.experiment_id for each in tracking.search_experiments(view_type=ViewType.ALL)]
    runs = all_pages(lambda token: tracking.search_runs(experiments, page_token=token))
    known = {run.info.run_id: run for run in runs}
    for version in all_pages(lambda token: tracking.search_model_versions(page_token=token)):
        if version.run_id and version.run_id not in known:
            known[version.run_id] = tracking.get_run(version.run_id)
    return {
        (tag.removeprefix(ARTIFACT_TAG), digest)
        for run in known.values()
        for tag, digest in run.data.tags.items()
        if tag.startswith(ARTIFACT_TAG)
    }


def all_pages(search: Callable[[str | None], PagedList[Any]]) -> Iterator[Any]:
    """Yields the results of all pages of a search."""
    token: str | None = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


def log_metrics(tracking: MlflowClient, run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
    """Logs final metrics in one request."""
    now = int(time.time() * 1000)
    entries = [Metric(name, float(value), now, step) for name, value in metrics.items()]
    tracking.log_batch(run_id, metrics=entries)


def accepted(*path: str) -> str:
    """Returns the name of a metric with people's own words in its path, such as labels, as MLflow accepts it: each part
    of letters, digits and _ - . alone, and all of it not too long."""
    return metric_name(*(re.sub(r"[^\w.\-]|^\.*$", "_", part) for part in path))[:MAX_ENTITY_KEY_LENGTH]


def accepted_names(group: str, words: Sequence[str]) -> list[str]:
    """Returns the `accepted` name of each word in a group; names that would be the same, as of "a b" and
    "a_b", are numbered."""
    names: list[str] = []
    for word in words:
        alike, number = accepted(group, word), 1
        name = alike
        while name in names:
            number += 1
            name = f"{alike[: MAX_ENTITY_KEY_LENGTH - len(f'_{number}')]}_{number}"
        names.append(name)
    return names


def set_tags(tracking: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Sets tags in one request."""
    tracking.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
