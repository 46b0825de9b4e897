"""Starts and stops the worker, with its runs, and settles runs whose worker is gone.

Prefect's own worker kills its runs when it is stopped: neither server hears how they ended, and the queue waits for
them for ever.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Crashed, Scheduled

from flows.servers.processes import Server
from lib.errors import ServiceError
from lib.processes.kept import Kept
from lib.secrets import public
from tasks.engine.log import LOG
from tasks.environment import home
from tasks.record.mlflow_run import reason_of

POOL = "finetune"
ASK_SECONDS = "2"  # between two questions whether something is due; Prefect's default is 10
WORKER = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
UNBEGUN_SECONDS = 60.0  # in which a worker says of a run that it has taken it, and begins it
UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
# Runs need neither, and there is a password in them.
NOT_FOR_RUNS = {"DATABASE": "", "PREFECT_SERVER_DATABASE_CONNECTION_URL": ""}


@contextmanager
def connected(api: str) -> Iterator[SyncPrefectClient]:
    """A client of the Prefect server at this address; raises ServiceError for what it refuses in the block."""
    try:
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as prefect:
            yield prefect
    except (httpx.HTTPError, PrefectException) as error:
        raise ServiceError(
            f"Prefect at {public(api)} failed ({reason_of(error)}): see that it works, and try again"
        ) from error


@dataclass
class Worker(Server):
    """A worker's process."""

    api: str = ""  # the address of the Prefect API that it asks
    looked: float = 0.0  # time.monotonic, when it was last looked for runs that it has not begun

    def look_after(self) -> None:
        """Lets runs wait for their turn again that it has taken and will not begin."""
        if time.monotonic() - self.looked < UNBEGUN_SECONDS:
            return
        self.looked = time.monotonic()
        with suppress(ServiceError, RuntimeError, ValueError):  # a server that does not answer is asked again
            release_unbegun(self.api)

    def stop(self) -> None:
        """Ends its runs, then the worker, and tells Prefect of runs that could not do so themselves."""
        super().stop()
        self._settle()

    def put_right(self) -> None:
        """Ends the runs of one that has ended, and tells Prefect of those that could not do so themselves."""
        super().put_right()
        self._settle()

    def _settle(self) -> None:
        try:
            settle(self.api)
        except (ServiceError, RuntimeError, ValueError) as error:  # the last two where something else answers
            LOG.warning("Prefect could not be told which runs were stopped: %s", reason_of(error))


def worker_name() -> str:
    """What Prefect calls the worker of this home, also after the next start."""
    return f"{socket.gethostname()}-{hashlib.sha256(str(home()).encode()).hexdigest()[:6]}"


def start_worker(api: str, mlflow: str, servers: Sequence[Server]) -> Worker:
    """A worker of the pool; its runs are recorded by the two servers at these addresses. Those of them that were
    started here outlive it."""
    kept = Kept(
        [*WORKER, "--name", worker_name()],
        "family",
        environment={
            **os.environ,
            "PREFECT_API_URL": api,
            "MLFLOW_TRACKING_URI": mlflow,
            "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS", ASK_SECONDS),
            **NOT_FOR_RUNS,
        },
        log=home() / "worker.log",
        survivors=[server.kept for server in servers],
    )
    return Worker("Worker", "", kept, lambda began: _has_asked(api, since=began), api=api)


def _has_asked(api: str, since: datetime) -> bool:
    """Whether the worker has let the server hear of it."""
    try:
        with connected(api) as prefect:
            workers = prefect.read_workers_for_work_pool(POOL)
    except ServiceError:
        return False  # it is asked again
    return any(w.name == worker_name() and w.last_heartbeat_time and w.last_heartbeat_time > since for w in workers)


def settle(api: str) -> None:
    """Puts right what the server thinks of runs that this home's worker had, when there is no such worker any more.

    A run that had begun is Crashed, and a retry goes on from its last checkpoint; one that had not waits for its turn
    again; one that was being cancelled is. Otherwise the queue would count them as under way for ever.
    """
    with connected(api) as prefect:
        for run in _runs_of_the_pool(prefect, UNDER_WAY):
            if run.labels.get("prefect.worker.name") == worker_name() and run.state is not None:
                with suppress(ObjectNotFound):  # somebody has deleted it meanwhile
                    prefect.set_flow_run_state(run.id, _without_process(run.state.type), force=True)


def release_unbegun(api: str) -> None:
    """Lets runs wait for their turn again that a worker had taken when the server ended, before that could say whose
    they are. The worker has forgotten them, and the queue would count them as under way for ever."""
    with connected(api) as prefect:
        for run in _runs_of_the_pool(prefect, [StateType.PENDING]):
            if "prefect.worker.name" not in run.labels and _seconds_in_its_state(run) > UNBEGUN_SECONDS:
                LOG.warning("the run %s was taken and never begun: it waits for its turn again", run.name)
                with suppress(ObjectNotFound):  # somebody has deleted it meanwhile
                    prefect.set_flow_run_state(run.id, Scheduled(), force=True)


def _seconds_in_its_state(run: FlowRun) -> float:
    if run.state is None or run.state.timestamp is None:
        return 0.0
    return (datetime.now(UTC) - run.state.timestamp).total_seconds()


def _runs_of_the_pool(prefect: SyncPrefectClient, states: list[StateType]) -> list[FlowRun]:
    return prefect.read_flow_runs(
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
    )


def _without_process(state: StateType) -> State[None]:
    if state == StateType.PENDING:
        return Scheduled()
    if state == StateType.CANCELLING:
        return Cancelled(message="Cancelled; its worker was stopped")
    return Crashed(message="Its worker was stopped: a retry goes on from what is in the store")
