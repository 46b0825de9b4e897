"""Prefect's temporary server, for a run that is told of no other: it ends with this process, however that ends.

Prefect would start one by itself, which outlives a killed process and holds its pipes open. This is the same command,
kept, and Prefect is told that it runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import prefect
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, get_current_settings

from flows.run.prefect_database import prefect_lock, ready_database, server_environment
from lib.errors import ServiceError
from lib.processes.kept import Kept
from tasks.environment import home

HOST = "127.0.0.1"
LOG = "prefect-temporary.log"  # in the home
LOOK_SECONDS = 0.05  # between two looks at whether it answers
TRIES = 3  # somebody else may take the port that was free
# As Prefect sets it for a server of its own: no pages, and it is told that it is one.
SETTINGS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


@contextmanager
def temporary_server() -> Iterator[str]:
    """Yields the address of a temporary server that this process's flow uses; raises ServiceError if none starts.

    Servers start one process at a time, after the database is ready.
    """
    from prefect.server.api.server import SubprocessASGIServer  # a second that runs with a named server do not need

    with prefect_lock():
        ready_database()
        port, server = _started()
    known = SubprocessASGIServer()  # which Prefect's clients look for where no address is set
    known.port, known.server_process, known.running = port, server.process, True
    try:
        yield known.api_url
    finally:
        server.stop()


def _started() -> tuple[int, Kept]:
    for _ in range(TRIES):
        with socket.create_server((HOST, 0)) as probe:
            port = int(probe.getsockname()[1])
        server = Kept(
            _command(port),
            "server",
            environment={
                **os.environ,
                **SETTINGS,
                **get_current_settings().to_environment_variables(exclude_unset=True),
                **server_environment(),
            },
            log=home() / LOG,
        )
        try:
            if _answers(server.process, port):
                return port, server
        except BaseException:
            server.stop()
            raise
        server.stop()
    said = (home() / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise ServiceError(
        f"Prefect's temporary server did not start ({said[-1] if said else 'it says nothing'}): see that"
        f" {home() / 'prefect'} can be written, or start a server (`make ui`) and set PREFECT_API_URL"
    )


def _command(port: int) -> list[str]:
    package = str(Path(prefect.__file__).parents[1])
    application = ["--app-dir", package, "--factory", "prefect.server.api.server:create_app"]
    listening = ["--host", HOST, "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    return [sys.executable, "-m", "uvicorn", *application, *listening]


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the server answers; returns whether it does, rather than having ended. Raises ServiceError if that
    takes too long."""
    seconds = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    late = time.monotonic() + seconds
    with httpx.Client(verify=False, trust_env=False) as client:
        while process.poll() is None:
            try:
                if client.get(f"http://{HOST}:{port}/api/health").is_success:
                    return True
            except httpx.TransportError:
                pass
            if time.monotonic() > late:
                raise ServiceError(
                    f"Prefect's temporary server did not answer within {seconds} s: see {home() / LOG}, or start a"
                    " server (`make ui`) and set PREFECT_API_URL"
                )
            time.sleep(LOOK_SECONDS)
    return False
