"""MLflow's server: finding it, how it fails, and what is asked of it for every run."""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any

import httpx
from filelock import FileLock
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.entities import PagedList
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH
from prefect.exceptions import PrefectException
from requests import RequestException
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from lib.errors import FinetuneError, ServiceError, chain_of
from lib.evaluation.flat import metric_name
from lib.extras import missing_package, require
from lib.processes.variables import variables_set
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
from tasks.record.checked import CheckedClient
from tasks.record.database import ready_database
from tasks.record.moved import follow_files
from tasks.record.read_only import may_only_be_read, read_only_uri

if TYPE_CHECKING:
    import pandas as pd


class AwayError(ServiceError):
    """MLflow does not answer, or not as MLflow does."""

    @property
    def what(self) -> str:
        """That without the advice."""
        return f"{self}".rpartition(": ")[0]


class RefusedNameError(ServiceError):
    """The name has another kind of model in the registry, and always will."""


# Raised when the server is gone or answers nonsense, or the database is damaged or full. The clients of a cloud's
# storage, where MLflow lets a run write there itself, raise their own: what is done about a failure goes by `may_pass`.
FAILURES = (MlflowException, SQLAlchemyError, ParseError, JSONDecodeError, RequestException, AwayError)
ANSWER_SECONDS = 10  # timeout of a server's first answer
LONGEST_REASON = 200  # characters of MLflow's message in an error
ERROR_TAG = "finetune.error"  # of a run: why it failed
RECORD_TAG = "finetune.record"  # of a run: the record that it was made of, by which it is found again
ARTIFACT_TAG = "artifact."  # tag of a run, followed by a step: the digest of its artifact
METRICS_A_REQUEST = 1000  # MLflow's limits for one log_batch
PARAMS_A_REQUEST = 100
TABLES_TAG = "mlflow.loggedArtifacts"  # of a run: which of its files MLflow's pages show as tables
POSTGRES = ("postgresql://", "postgresql+psycopg2://")  # addresses that SQLAlchemy opens with psycopg2


_clients: dict[tuple[str, str], CheckedClient] = {}  # the last one, by its addresses


def client() -> MlflowClient:
    """Returns a client of the tracking server; the first use of a new local file creates its tables. A server that has
    answered a moment ago is not asked again whether it does.

    Raises AwayError if the named server does not answer as MLflow does, or if the local file cannot be used, and
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
        whole = revealed(uri)
        known = _clients.get((whole, _registry(whole)))
        if known is not None and known.answered_lately():
            return known
        _ask_once(whole)
        return _connected(whole)
    except (*FAILURES, ModuleNotFoundError) as error:
        raise AwayError(
            f"MLflow does not answer at {uri} ({reason_of(error)}): start that server, or correct"
            " MLFLOW_TRACKING_URI, or unset it to use a local file"
        ) from None


def require_address() -> None:
    """Raises ServiceError for a MLFLOW_TRACKING_URI at which no server can ever be."""
    uri = tracking_uri()
    kind = uri.partition("://")[0].partition("+")[0]
    if kind not in ("http", "https", *DATABASE_ENGINES):
        raise ServiceError(
            f"MLFLOW_TRACKING_URI is {str(uri)!r}, which is no address of MLflow: write http:// or https://"
            " before a server's name, or unset it to use a local file"
        )


@contextmanager
def asked_once(seconds: float | None = None) -> Iterator[None]:
    """While the block runs, a request to MLflow that fails is not repeated by MLflow itself: for what creates
    something, which would be there twice where only the answer was lost, and for what must not take long. seconds: that
    a request may take, if not as long as usual."""
    wanted = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    if seconds is not None:
        wanted["MLFLOW_HTTP_REQUEST_TIMEOUT"] = f"{math.ceil(seconds)}"
    with variables_set(wanted):
        yield


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
        raise AwayError(
            f"MLflow cannot use {database} ({reason_of(error)}): let it be written if it may not be, or"
            " move it away, and the next run begins a new one without the runs and registered models in it"
        ) from None


def _registry(uri: str) -> str:
    return os.environ.get("MLFLOW_REGISTRY_URI") or uri


def _connected(uri: str) -> CheckedClient:
    """Returns a client whose server has answered."""
    tracking = CheckedClient(uri, _registry(uri))
    tracking.search_experiments(max_results=1)
    _clients.clear()
    _clients[uri, _registry(uri)] = tracking
    return tracking


def _ask_once(uri: str) -> None:
    """Raises if the server does not answer; MLflow itself would retry for minutes."""
    kind = uri.partition(":")[0].partition("+")[0]
    if kind in ("http", "https"):
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        usual = float(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
        http_request(credentials, "/health", "GET", max_retries=0, timeout=min(ANSWER_SECONDS, usual))  # type: ignore[no-untyped-call]
    elif kind in DATABASE_ENGINES:
        create_engine(uri, poolclass=NullPool).connect().close()


def may_pass(error: Exception) -> bool:
    """Whether what failed may succeed later, whether a server failed or this machine: everything but what this project
    refuses."""
    return isinstance(error, AwayError) or not isinstance(error, FinetuneError)


def reason_of(error: BaseException) -> str:
    """Returns in one line why a server is unreachable. Prefers the system's words, such as `[Errno 111] Connection
    refused`, then those of the error's cause, then its own, with its name where it is none that is expected."""
    if isinstance(error, AwayError):
        return error.what
    if isinstance(error, FinetuneError):
        return str(error)
    reason = error.__cause__ or error
    for link in chain_of(error):
        if isinstance(link, ImportError) and link.name == "boto3":
            return str(missing_package("boto3", "s3", "MLflow, whose files are in a bucket,"))
        if isinstance(link, OSError):
            reason = link
    text = redacted(" ".join(str(reason).split()))
    expected = (*FAILURES, OSError, sqlite3.Error, httpx.HTTPError, PrefectException)
    if not text or not (isinstance(error, expected) or isinstance(reason, OSError)):
        text = f"{type(reason).__name__}: {text}".removesuffix(": ")
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
def loss_warned(what: str) -> Iterator[None]:
    """Warns with `what` where MLflow or Prefect fails, for what is told when a run's work is done: by then the registry
    may have a new champion, and a failed run would deny it."""
    try:
        yield
    except (*FAILURES, ServiceError, OSError, httpx.HTTPError, PrefectException) as error:
        run_log().warning("%s (%s)", what, reason_of(error))


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


def log_metrics(tracking: MlflowClient, run_id: str, metrics: Mapping[str, float], *, step: int, at: int) -> None:
    """Logs final metrics in one request. at: milliseconds since 1970; with the same, MLflow takes them once."""
    entries = [Metric(name, float(value), at, step) for name, value in metrics.items()]
    tracking.log_batch(run_id, metrics=entries)


def log_table(tracking: MlflowClient, run_id: str, table: pd.DataFrame, name: str) -> None:
    """Logs a table that MLflow's pages show, as `name`; unlike MLflow's own function, which adds its rows to those of a
    table that is there, in place of it."""
    tracking.log_text(run_id, table.to_json(orient="split", index=False, date_format="iso"), name)
    known = json.loads(tracking.get_run(run_id).data.tags.get(TABLES_TAG, "[]"))
    shown = {"path": name, "type": "table"}
    if shown not in known:
        tracking.set_tag(run_id, TABLES_TAG, json.dumps([*known, shown]))


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
