"""Everything that runs flows by itself: `python -m flows.up`, until Ctrl-C.

Starts Prefect's server, MLflow's server and a worker, and registers the deployments; over local files, or over the
PostgreSQL server that DATABASE names (`flows.database`). All of them listen on this machine only. A server that
PREFECT_API_URL or MLFLOW_TRACKING_URI names is used instead of one started here.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence

from flows.database import create_missing, databases
from flows.deploy import register
from flows.servers import running
from flows.servers.processes import (
    HOST,
    Server,
    end_family,
    port,
    start_mlflow,
    start_prefect,
    stop_signals,
    wait_until_up,
    watch,
)
from flows.servers.worker import settle, start_worker
from lib.errors import FinetuneError
from tasks.environment import (
    MLFLOW_PORT,
    PREFECT_PORT,
    home,
    tracking_is_served,
    tracking_uri,
    unusable_home_is_clear,
    without_password,
)

INBOX = "inbox"  # what prefect.yaml has score-hourly look at


def main(argv: Sequence[str]) -> int:
    """Starts everything, says so, and waits for a signal; the exit status. A second one says where the first one is."""
    parser = argparse.ArgumentParser(prog="python -m flows.up", description=__doc__)
    parser.add_argument("--prefect-port", type=port, default=PREFECT_PORT)
    parser.add_argument("--mlflow-port", type=port, default=MLFLOW_PORT)
    options = parser.parse_args(argv)
    try:
        with unusable_home_is_clear(), running.only_one() as alone:
            if not alone:
                _say_what_is_running()
                return 0
            with stop_signals() as stop:
                _run(options, stop)
    except FinetuneError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is the program's output
        return 2
    return 0


def _run(options: argparse.Namespace, stop: threading.Event) -> None:
    """Everything, from its start to its end; returns once nothing of it is left."""
    for process in running.left_behind():
        end_family(process)
    (home() / INBOX).mkdir(exist_ok=True)
    servers: list[Server] = []
    try:
        _bring_up(options, servers, stop)
        watch(servers, stop)
    finally:
        # The worker first, and its runs with it: they have to tell both servers how they ended.
        for server in reversed(servers):
            server.stop()
        running.note_file().unlink(missing_ok=True)


def _bring_up(options: argparse.Namespace, servers: list[Server], stop: threading.Event) -> None:
    """Starts all into `servers`, one after the other, and says when it is ready; returns early once `stop` is set."""
    _use_database()
    prefect, mlflow = _start_servers(options, servers)
    pages = {"Prefect": prefect.removesuffix("/api"), "MLflow": mlflow} | {s.name: s.page for s in servers}
    shown = {name: without_password(page) for name, page in pages.items()}
    note = running.Note(prefect=without_password(prefect), mlflow=without_password(mlflow), pages=shown)
    running.write(note, servers)
    wait_until_up(servers, stop)
    if stop.is_set():
        return
    deployments = register(prefect)
    settle(prefect)
    if stop.is_set():
        return
    servers.append(start_worker(prefect, mlflow))
    running.write(note, servers)
    wait_until_up(servers, stop)
    if not stop.is_set():
        _say(note)
        print(f"ready: {len(deployments)} deployments, one worker; Ctrl-C stops all of it", flush=True)  # noqa: T201


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


def _start_servers(options: argparse.Namespace, servers: list[Server]) -> tuple[str, str]:
    """Starts the servers that the environment does not name, into `servers`; where Prefect's API and MLflow are."""
    prefect = os.environ.get("PREFECT_API_URL", "")
    mlflow = tracking_uri() if tracking_is_served() else ""
    if not prefect:
        servers.append(start_prefect(options.prefect_port))
        prefect = f"http://{HOST}:{options.prefect_port}/api"
    if not mlflow:
        servers.append(start_mlflow(options.mlflow_port))
        mlflow = f"http://{HOST}:{options.mlflow_port}"
    return prefect, mlflow


def _say_what_is_running() -> None:
    note = running.read()
    if note is None:
        print("another `make up` is starting here: wait until it says that it is ready")  # noqa: T201
        return
    print("already running here; nothing was started")  # noqa: T201
    _say(note)


def _say(note: running.Note) -> None:
    for name, page in note.pages.items():
        print(f"{name:8} {page}")  # noqa: T201
    print("in other terminals, so that their runs are seen there too:")  # noqa: T201
    print(f"   export PREFECT_API_URL={note.prefect} MLFLOW_TRACKING_URI={note.mlflow}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
