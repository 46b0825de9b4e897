"""Starts, awaits, watches and stops Prefect's server and MLflow's, on this machine only."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from mlflow import MlflowClient

from flows.run.prefect_database import prefect_lock, ready_database, server_environment
from lib.errors import ServiceError
from lib.processes.kept import Kept
from lib.processes.stopping import signals_heard
from lib.secrets import revealed
from tasks.engine.log import LOG
from tasks.environment import artifact_folder, home, tracking_uri
from tasks.record.mlflow_run import client
from tasks.record.view import IN_MLFLOW, VERDICT_TAG, runs_page

HOST = "127.0.0.1"
START_SECONDS = 120  # a first start creates databases
ASK_SECONDS = 0.5  # between two looks at servers that are starting
LOOK_SECONDS = 1.0  # between two looks at servers that run
AGAIN_SECONDS = (0.0, 5.0, 30.0)  # until one that has ended is started for the first, the second, the third time
AGAIN_WITHIN = 600.0  # seconds in which that counts; after the last time it is given up
# What the user has set wins.
SETTINGS = {
    # Prefect's newer pages fetch a configuration from Amplitude although analytics are off; the older ones show the
    # same and ask nobody.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Who uses the card is kept in files. A server that keeps it in memory, which is the default, forgets in a restart
    # that the slot of a killed run was only lent, and every later run waits for it.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


@dataclass
class Server:
    """A kept command with its page, if it has one, and what tells whether it is ready."""

    name: str
    page: str
    kept: Kept
    ready: Callable[[datetime], bool]  # is told when it was started
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self.kept.process.poll() is not None

    def is_up(self) -> bool:
        """Whether it is ready; raises ServiceError if its process has ended."""
        if self.ended:
            raise ServiceError(end_of(self))
        return self.ready(self.began)

    def look_after(self) -> None:
        """Puts right what has gone wrong around one that runs; called every LOOK_SECONDS."""

    def put_right(self) -> None:
        """Ends and puts right what one that has ended has left."""
        self.kept.end_rest()

    def start_again(self) -> None:
        """Starts one that has ended once more."""
        self.put_right()
        self.began = datetime.now(UTC)
        self.kept.start()

    def stop(self) -> None:
        """Ends the process and all that it has started."""
        self.kept.stop()


def end_of(server: Server) -> str:
    """Says how a server ended, and where to read why."""
    return f"{server.name} ended with status {server.kept.process.returncode}: see {server.kept.log}"


def answers(address: str) -> bool:
    """Whether a server answers there with success."""
    try:
        # No proxy stands between, and reading all certificates for plain HTTP would take longer than the answer.
        return httpx.get(address, timeout=2, trust_env=False, verify=False).is_success
    except httpx.TransportError:
        return False


def launch(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    ready: Callable[[datetime], bool],
    *,
    log: str,
    page: str,
) -> Server:
    """Starts the server `python -m {arguments}`; what `environment` sets wins over this process's own, `log` is in the
    home."""
    command = [sys.executable, "-m", *arguments]
    kept = Kept(command, "server", environment={**SETTINGS, **os.environ, **environment}, log=home() / log)
    return Server(name, page, kept, ready)


def _check_free(name: str, port: int) -> None:
    """Raises ServiceError if something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise ServiceError(
                f"port {port} for {name} is taken: stop what listens there, or choose another (--{name.lower()}-port)"
            ) from None


def start_prefect(port: int) -> Server:
    """Prefect's server over `$FINETUNE_HOME/prefect`, or the database that the environment names."""
    _check_free("Prefect", port)
    with prefect_lock():
        ready_database()
    return launch(
        "Prefect",
        ["prefect", "server", "start", "--host", HOST, "--port", str(port)],
        # Without the variable the page would call the API on Prefect's default port.
        {"PREFECT_SERVER_API_PORT": str(port), **server_environment()},
        lambda began: answers(f"http://{HOST}:{port}/api/health"),
        log="prefect-server.log",
        page=f"http://{HOST}:{port}",
    )


def start_mlflow(port: int) -> Server:
    """MLflow's server over the database in which runs are recorded: `$FINETUNE_HOME/mlflow.db`, or the one named."""
    _check_free("MLflow", port)
    page = _latest_results(client())  # which also creates the tables, so that the server finds them
    return launch(
        "MLflow",
        ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"],
        {
            # Not as an argument, which every user of this machine could read: there may be a password in it.
            "MLFLOW_BACKEND_STORE_URI": revealed(tracking_uri()),
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifact_folder().as_uri(),
            # Job execution would add eight processes that nothing here uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        lambda began: answers(f"http://{HOST}:{port}/health"),
        log="mlflow-server.log",
        page=f"http://{HOST}:{port}{page}",
    )


def _latest_results(tracking: MlflowClient) -> str:
    """The page of the runs among which somebody trained last; of those of any kind, and of the experiments, as long as
    there is none."""
    made_by_flows = [found.experiment_id for found in tracking.search_experiments() if found.name != "Default"]
    newest = ["attributes.start_time DESC"]
    for which in (f"tags.`{VERDICT_TAG}` != ''", "") if made_by_flows else ():
        for run in tracking.search_runs(made_by_flows, which, max_results=1, order_by=newest):
            return runs_page(tracking, run.info.experiment_id)
    # From the list of experiments MLflow would go on to its pages for language model applications.
    return f"/#/experiments?{IN_MLFLOW}"


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and the end of the terminal set, in place of raising."""
    stop = threading.Event()
    with signals_heard(stop.set):
        yield stop


def wait_until_up(servers: Sequence[Server], stop: threading.Event) -> None:
    """Returns when all are ready or `stop` is set; raises ServiceError if one ends or takes too long."""
    for _ in range(int(START_SECONDS / ASK_SECONDS)):
        if stop.wait(ASK_SECONDS) or all(server.is_up() for server in servers):
            return
    raise ServiceError(f"the servers did not answer within {START_SECONDS} s: see the logs in {home()}")


def watch(servers: Sequence[Server], stop: threading.Event, note: Callable[[], None]) -> None:
    """Returns when `stop` is set. Starts again what ends before, and calls `note` then; raises ServiceError where that
    does not help."""
    starts: dict[str, list[float]] = {server.name: [] for server in servers}
    while servers and not stop.wait(LOOK_SECONDS):
        for server in servers:  # a worker last, because it asks the others
            if server.ended:
                _start_again(server, starts[server.name], stop)
                note()
            else:
                server.look_after()


def _start_again(server: Server, starts: list[float], stop: threading.Event) -> None:
    """Starts one that has ended, and waits until it is ready, ends again or is late. starts: when that was done."""
    starts[:] = [start for start in starts if time.monotonic() - start < AGAIN_WITHIN]
    if len(starts) == len(AGAIN_SECONDS):
        raise ServiceError(
            f"{end_of(server)}. It was started again {len(starts)} times in {AGAIN_WITHIN / 60:.0f} minutes, which did"
            " not help, so all of it was stopped"
        )
    LOG.warning("%s. It is started again", end_of(server))
    if stop.wait(AGAIN_SECONDS[len(starts)]):
        return
    starts.append(time.monotonic())
    server.start_again()
    late = starts[-1] + START_SECONDS
    while not (stop.wait(ASK_SECONDS) or server.ended or server.ready(server.began) or time.monotonic() > late):
        pass
