"""Runs whole flows as a user does: a process for each, in a home of its own, against real servers.

What needs neither a server nor torch, an explanation for example, runs in the process of the tests.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import httpx
import psutil

from lib.progress import in_words
from tests.support.forked import can_be_forked, run_forked

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

PROJECT = Path(__file__).resolve().parents[2]
# Every server here is on this machine. A client of its own for each question would read all certificates again, which
# takes longer than the answer; and no connection is kept, since servers come and go.
HTTP = httpx.Client(timeout=30, verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
STEPS = [
    "download",
    "messages",
    "balance",
    "split",
    "holdout",
    "tokenizer",
    "tokenize",
    "backbone",
    "features",
    "finetune",
    "engine",
    "cross_validate",
    "evaluate",
]
# Small enough for seconds, large enough that every class is in every split.
QUICK = [
    "--training.epochs=2",
    "--training.batch_size=16",
    "--training.learning_rate=0.001",
    "--training.evaluate_every=5",
    "--registry.name=e2e",
]


def let_children_heed_signals() -> None:
    """Makes what this process starts end on Ctrl-C and hang-up, also under `nohup` or in the background of a script.

    A process inherits that a signal is ignored, but not that it is handled: so here a handler goes on ignoring it.
    """
    for kind in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(kind) == signal.SIG_IGN:
            signal.signal(kind, lambda number, frame: None)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a server answers there with success."""
    try:
        return HTTP.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False


def wait_until(done: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Looks ten times a second, and less often where to look takes a server's time, which others wait for; fails the
    test when time is up, which is twice as long as on a machine without other work."""
    pause, waited = threading.Event(), 0.0
    while waited < 2 * seconds:
        began = time.monotonic()
        if done():
            return
        rest = min(1.0, max(0.1, 6 * (time.monotonic() - began)))
        pause.wait(rest)
        waited += rest
    raise AssertionError(f"{what}: not within {waited:.0f} s")


@contextmanager
def serving(command: Sequence[str], *, health: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A server, `python -m {command}`, in a folder of its own, from when it answers at `health` to the block's end."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until(lambda: answers(health), seconds=120, what=f"{command[0]} at {health}")
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)


@dataclass
class Home:
    """A `$FINETUNE_HOME` and the environment of the processes that use it."""

    folder: Path
    data: Path
    environment: dict[str, str] = field(default_factory=dict)
    project: Path = PROJECT

    def command(self, *arguments: str, module: str = "flows.classify") -> list[str]:
        return [sys.executable, "-m", module, *arguments]

    def env(self) -> dict[str, str]:
        # A test in this process may have pointed MLflow or Prefect somewhere; a child decides for itself.
        inherited = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")}
        return {
            **inherited,
            "FINETUNE_HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder / "prefect"),  # importing `tasks` here has set another one
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            **self.environment,
        }

    def arguments(self, *more: str) -> list[str]:
        """The flags of a quick run over the small data file."""
        return ["--recipe", str(PROJECT / "tests" / "support" / "quick.yaml"), f"--data.url={self.data}", *QUICK, *more]

    def call(self, *arguments: str, module: str = "flows.classify", text: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, whatever that is."""
        if can_be_forked(self.environment):
            return run_forked([module, *arguments], folder=self.project, environment=self.env(), text=text)
        return subprocess.run(
            self.command(*arguments, module=module),
            cwd=self.project,
            env=self.env(),
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Starts a quick run and does not wait for it."""
        return subprocess.Popen(
            self.command(*self.arguments("--json", *more)),
            cwd=self.project,
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *more: str) -> Any:
        """A quick run; what `--json` printed in its last line."""
        done = self.call(*self.arguments("--json", *more))
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def explain(self, *more: str) -> dict[str, tuple[str, list[str]]]:
        """For each step what would become of it, and why; by the code of this process, unless the home has its own."""
        arguments = self.arguments("--explain", "--json", *more)
        if self.project == PROJECT:
            printed = self._main(arguments)
        else:
            done = self.call(*arguments)
            assert done.returncode == 0, done.stdout + done.stderr
            printed = done.stdout
        return {v["step"]: (v["would"], v["reasons"]) for v in json.loads(printed)["steps"]}

    def _main(self, arguments: list[str]) -> str:
        """What the program prints when it runs in this process."""
        from flows.classify import PROGRAM
        from flows.terminal.command_line import main

        printed = io.StringIO()
        with patch.dict(os.environ, FINETUNE_HOME=str(self.folder)), redirect_stdout(printed):
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # a test in this process may have set another home's
            assert main(arguments, PROGRAM) == 0
        return printed.getvalue()

    def artifacts(self) -> dict[str, list[Path]]:
        """The artifact folders of each step."""
        return {step: sorted((self.folder / "store" / step).glob("[!.]*")) for step in STEPS}


def of_home(home: Home) -> list[psutil.Process]:
    """Processes that work in this home: what the program started, its children, and theirs."""
    mine = f"FINETUNE_HOME={home.folder}".encode()
    found = []
    for process in psutil.process_iter():
        try:
            if mine in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                found.append(process)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is somebody else's
    return found


def copy_of(home: Home, folder: Path) -> Home:
    """A copy of a home and all that is in it, at `folder`."""
    shutil.copytree(home.folder, folder)
    return replace(home, folder=folder)


def copy_database(source: Path, target: Path) -> None:
    """Copies an SQLite file, also while a server writes to it."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def experiment_id(tracking: MlflowClient, name: str) -> str:
    """The id of MLflow's experiment of that name, which must be there."""
    found = tracking.get_experiment_by_name(name)
    assert found is not None, f"MLflow has no experiment {name}"
    return str(found.experiment_id)


def evaluations_told(prefect_api: str, result: Any) -> list[str]:
    """The lines of Prefect's log of a run that tell an evaluation of its training."""
    of_run = {"logs": {"flow_run_id": {"any_": [result["flow_run"]]}}, "sort": "TIMESTAMP_ASC"}
    told = [str(log["message"]) for log in httpx.post(f"{prefect_api}/logs/filter", json=of_run).json()]
    return [message for message in told if message.startswith("step ")]


def told_of(history: pd.DataFrame) -> list[str]:
    """The lines that tell a history's rows."""
    return [in_words({str(name): value for name, value in row.items()}) for row in history.to_dict("records")]


def ran(result: Any) -> list[str]:
    """The artifact steps that a run computed; the others were reused."""
    return [step["step"] for step in result["steps"] if step["state"] == "ran" and step["step"] in STEPS]


def digests(result: Any) -> dict[str, str]:
    """The digest of each step's artifact."""
    return {step["step"]: step["artifact"]["digest"] for step in result["steps"] if step["artifact"]}
