"""A server as a process of its own, for the rows that ask one.

This module starts it, waits until it answers, and stops it; the rows decide what it serves and what is measured.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120  # a server that does not answer by then will not


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], *, health: str, environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """`python -m {command}`, from when it answers at `health` to the block's end, with all that it started; yields its
    process's number."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _wait_until_up(health, server, log)
            yield server.pid
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _wait_until_up(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(START_SECONDS * 2):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode}:\n{log.read_text()}")
        try:
            straight.open(health, timeout=2)
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise RuntimeError(f"the server did not answer at {health} within {START_SECONDS} s")
