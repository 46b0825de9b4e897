"""Prefect's and MLflow's pages over the local files of `$FINETUNE_HOME`: `python -m flows.ui`, until Ctrl-C.

Both servers listen on this machine only. A server that PREFECT_API_URL or MLFLOW_TRACKING_URI names is not started
here; its address is printed. A database that MLFLOW_TRACKING_URI names has no pages, so MLflow is started over it.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

import httpx
from mlflow import MlflowClient

from lib.errors import FinetuneError, ServiceError
from tasks.services import (
    MLFLOW_PORT,
    PREFECT_PORT,
    artifact_folder,
    home,
    make_home,
    tracking_is_served,
    tracking_page,
    tracking_uri,
    unusable_home_is_clear,
    without_password,
)
from tasks.track import IN_MLFLOW
from tasks.tracking import client

HOST = "127.0.0.1"
START_SECONDS = 120  # a first start creates databases
STOP_SECONDS = 15
# Prefect's newer pages fetch a configuration from Amplitude although analytics are off; the older ones show the same
# and ask nobody. What the user has set wins.
QUIET_PAGES = {
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


@dataclass
class Server:
    """A server process with its page and the address that answers once it is up."""

    name: str
    page: str
    health: str
    process: subprocess.Popen[bytes]

    def check_alive(self) -> None:
        """Raises ServiceError if the process has ended."""
        if self.process.poll() is not None:
            raise ServiceError(f"{self.name} ended with status {self.process.returncode}: see {log_file(self.name)}")

    def is_up(self) -> bool:
        """Whether it answers; raises ServiceError if its process has ended."""
        self.check_alive()
        try:
            return httpx.get(self.health, timeout=2, trust_env=False).is_success  # no proxy stands between
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Ends the process and all that it started."""
        for kind, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            try:
                os.killpg(self.process.pid, kind)
                self.process.wait(seconds)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


def log_file(name: str) -> str:
    """Where a server's own output goes."""
    return str(home() / f"{name.lower()}-server.log")


def start(
    name: str, arguments: Sequence[str], port: int, *, page: str = "", health: str, environment: dict[str, str]
) -> Server:
    """Starts a server on `port`; raises ServiceError if something else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise ServiceError(
                f"port {port} for {name} is taken: stop what listens there, or choose another (--{name.lower()}-port)"
            ) from None
    with open(log_file(name), "wb") as log:  # noqa: PTH123 - a name, not a Path
        # A session of its own, so that Ctrl-C reaches this program alone, which then stops the servers in order.
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**QUIET_PAGES, **os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(name, f"http://{HOST}:{port}{page}", f"http://{HOST}:{port}{health}", process)


def start_prefect(port: int) -> Server:
    """Prefect's server over `$FINETUNE_HOME/prefect`."""
    arguments = ["prefect", "server", "start", "--host", HOST, "--port", str(port)]
    # Without the variable the page would call the API on Prefect's default port.
    return start("Prefect", arguments, port, health="/api/health", environment={"PREFECT_SERVER_API_PORT": str(port)})


def start_mlflow(port: int) -> Server:
    """MLflow's server over the database in which runs are recorded: `$FINETUNE_HOME/mlflow.db`, or the one named."""
    page = _newest_experiment(client())  # which also creates the tables, so that the server finds them
    arguments = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    return start(
        "MLflow",
        arguments,
        port,
        page=page,
        health="/health",
        environment={
            # Not as an argument, which every user of this machine could read: there may be a password in it.
            "MLFLOW_BACKEND_STORE_URI": tracking_uri(),
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifact_folder().as_uri(),
            # Job execution would add eight processes that nothing here uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
    )


def _newest_experiment(tracking: MlflowClient) -> str:
    """The page of its runs; of the experiments, as long as there is none."""
    made_by_flows = [found for found in tracking.search_experiments() if found.name != "Default"]
    newest = max(made_by_flows, key=lambda found: found.creation_time or 0, default=None)
    # From the list of experiments MLflow would go on to its pages for language model applications.
    return f"/#/experiments/{newest.experiment_id}/runs?{IN_MLFLOW}" if newest else f"/#/experiments?{IN_MLFLOW}"


def main(argv: Sequence[str]) -> int:
    """Starts what the environment does not name, prints the addresses and, if it started anything, waits for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m flows.ui", description=__doc__)
    parser.add_argument("--prefect-port", type=_port, default=PREFECT_PORT)
    parser.add_argument("--mlflow-port", type=_port, default=MLFLOW_PORT)
    options = parser.parse_args(argv)
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        stop.set()

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, ask_to_stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # which is what `nohup` asks for
        signal.signal(signal.SIGHUP, ask_to_stop)
    servers: list[Server] = []
    try:
        with unusable_home_is_clear():
            make_home()
            if not os.environ.get("PREFECT_API_URL"):
                servers.append(start_prefect(options.prefect_port))
            if not tracking_is_served():
                servers.append(start_mlflow(options.mlflow_port))
        _wait_until_up(servers, stop)
        pages = {server.name: server.page for server in servers}
        _say("Prefect", pages.get("Prefect", os.environ.get("PREFECT_API_URL", "")))
        _say("MLflow", pages.get("MLflow", tracking_page()))
        if servers:
            print("Ctrl-C stops what was started here", flush=True)  # noqa: T201 - this is the program's output
        while servers and not stop.wait(1):
            for server in servers:
                server.check_alive()
    except FinetuneError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    finally:
        for server in servers:
            server.stop()
    return 0


def _wait_until_up(servers: Sequence[Server], stop: threading.Event) -> None:
    for _ in range(START_SECONDS * 2):
        if stop.wait(0.5) or all(server.is_up() for server in servers):
            return
    raise ServiceError(f"the servers did not answer within {START_SECONDS} s: see the logs in {home()}")


def _port(text: str) -> int:
    if not 0 < (port := int(text)) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port: choose one from 1 to {2**16 - 1}")
    return port


def _say(name: str, address: str) -> None:
    print(f"{name:8} {without_password(address)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
