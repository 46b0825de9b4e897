"""Runs both servers, a worker and the deployments, until Ctrl-C.

Uses local files, or the PostgreSQL server that DATABASE names, and any server that PREFECT_API_URL or
MLFLOW_TRACKING_URI names in place of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from flows.servers import running
from flows.servers.database import create_missing, databases
from flows.servers.deployments import register
from flows.servers.processes import (
    HOST,
    Server,
    start_mlflow,
    start_prefect,
    stop_signals,
    wait_until_up,
    watch,
)
from flows.servers.worker import settle, start_worker
from lib.secrets import public, revealed
from tasks.environment import home, tracking_is_served, tracking_uri
from tasks.running import UP, Note, read_note

INBOX = "inbox"  # what prefect.yaml has score-hourly look at


def run_everything(ports: Mapping[str, int]) -> None:
    """Starts everything, says so, and waits for a signal; where everything runs already, says only where.

    `ports`: where servers that are started here listen, `prefect` and `mlflow`.
    """
    with running.only_one() as alone:
        if not alone:
            _say_what_is_running()
            return
        with stop_signals() as stop:
            _run(ports, stop)


def _run(ports: Mapping[str, int], stop: threading.Event) -> None:
    """Everything, from its start to its end; returns once nothing of it is left."""
    running.wait_for_the_last()
    (home() / INBOX).mkdir(exist_ok=True)
    servers: list[Server] = []
    try:
        note = _bring_up(ports, servers, stop)
        watch(servers, stop, lambda: running.write(note, servers))
    finally:
        # The worker first, and its runs with it: they have to tell both servers how they ended.
        for server in reversed(servers):
            server.stop()
        running.remove()


def _bring_up(ports: Mapping[str, int], servers: list[Server], stop: threading.Event) -> Note:
    """Starts all into `servers`, one after the other, and says when it is ready; returns early once `stop` is set.
    Returns the note of what runs."""
    over_files = running.over_files()  # before the environment names what is started here
    _use_database()
    prefect, mlflow = _start_servers(ports, servers)
    pages = {"Prefect": prefect.removesuffix("/api"), "MLflow": mlflow} | {s.name: s.page for s in servers}
    shown = {name: public(page) for name, page in pages.items()}
    note = Note(prefect=public(prefect), mlflow=public(mlflow), pages=shown, over_files=over_files)
    running.write(note, servers)
    wait_until_up(servers, stop)
    if stop.is_set():
        return note
    deployments = register(prefect)
    settle(prefect)
    if stop.is_set():
        return note
    servers.append(start_worker(prefect, mlflow, servers))
    running.write(note, servers)
    wait_until_up(servers, stop)
    if not stop.is_set():
        _say(note)
        print(f"ready: {len(deployments)} deployments, one worker; Ctrl-C stops all of it", flush=True)  # noqa: T201
    return note


def _use_database() -> None:
    """Points both servers at PostgreSQL where DATABASE is set; what is set for one of them alone wins."""
    address = os.environ.get("DATABASE")
    if not address:
        return
    wanted = databases(address)
    for name in create_missing(wanted):
        print(f"created the database {name}", flush=True)  # noqa: T201
    os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_URL", wanted.prefect_url)
    os.environ.setdefault("MLFLOW_TRACKING_URI", wanted.mlflow_url)


def _start_servers(ports: Mapping[str, int], servers: list[Server]) -> tuple[str, str]:
    """Starts the servers that the environment does not name, into `servers`; where Prefect's API and MLflow are."""
    prefect = os.environ.get("PREFECT_API_URL", "")
    mlflow = revealed(tracking_uri()) if tracking_is_served() else ""
    if not prefect:
        servers.append(start_prefect(ports["prefect"]))
        prefect = f"http://{HOST}:{ports['prefect']}/api"
    if not mlflow:
        servers.append(start_mlflow(ports["mlflow"]))
        mlflow = f"http://{HOST}:{ports['mlflow']}"
    return prefect, mlflow


def _say_what_is_running() -> None:
    note = read_note(UP)
    if note is None:
        print("another `finetune up` is starting here: wait until it says that it is ready")  # noqa: T201
        return
    print("already running here; nothing was started")  # noqa: T201
    _say(note)


def _say(note: Note) -> None:
    for name, page in note.pages.items():
        print(f"{name:8} {page}")  # noqa: T201
    print("in other terminals, so that their runs are seen there too:")  # noqa: T201
    print(f"   export PREFECT_API_URL={note.prefect} MLFLOW_TRACKING_URI={note.mlflow}", flush=True)  # noqa: T201
