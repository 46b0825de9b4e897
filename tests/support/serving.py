"""`finetune serve` as a process of its own, for the tests that ask it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.e2e import Home, free_port
from tests.support.said import after_the_first_line


@dataclass
class Server:
    """The program while it serves."""

    process: subprocess.Popen[str]
    http: httpx.Client
    said: str  # its first line
    complained: str = ""  # what was on standard error, when it has ended

    def ask(self, path: str, question: Any) -> httpx.Response:
        """POSTs it as JSON."""
        return self.http.post(path, json=question)

    def rows(self, *texts: str) -> list[dict[str, Any]]:
        """What it answers for these texts."""
        answer = self.ask("/invocations", {"inputs": texts})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["predictions"])


@contextmanager
def started(
    home: Home, *arguments: str, ended_by: signal.Signals = signal.SIGTERM, quiet: bool = True
) -> Iterator[Server]:
    """A server from when it says that it answers; a signal ends it, with status 0 and, where it is to be `quiet`,
    nothing to complain about."""
    port = free_port()
    process = subprocess.Popen(
        home.command("--port", str(port), *arguments, module="flows.serve"),
        cwd=home.project,
        env={**home.env(), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = process.stdout.readline()
        assert said, process.stderr.read()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            assert f" answers at {http.base_url}; ".replace("/;", ";") in said
            server = Server(process, http, said)
            yield server
    finally:
        process.send_signal(ended_by)
        status = process.wait(60)
        out, said = process.communicate()
    server.complained = said
    assert (status, out) == (0, "")
    if quiet:
        assert after_the_first_line(said) == ""
