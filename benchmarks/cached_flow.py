"""Row "cached_flow": a run of the quickstart whose every step is in the store, and what importing the flow takes.

There is no other side: the seconds and the memory of a run stand against what they may be, the import against that of
the two packages it cannot do without. Each measurement is a process of its own, in a home that one real run has filled.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import DifferentResultsError, Measured, Row, limit_row, median_seconds
from benchmarks.server import free_port, running
from benchmarks.workload import PROJECT, Bench

GROUP = "cached_flow"
COMMAND = ("flows.classify", "--recipe", "quickstart", "--json")
NEVER_REUSED = {"track"}  # it logs this run
ALLOWED_SECONDS = {"temporary": 12.0, "running": 4.0}  # by the Prefect server
ALLOWED_MEGABYTES = 300.0
AT_LEAST_RUNS = 3


@dataclass(frozen=True)
class CachedRun:
    """One run: from the start of its process to its end."""

    seconds: float
    megabytes: float  # the peak of the process; a temporary server is another one


def rows(bench: Bench) -> Iterator[Row]:
    """Measure with a temporary server, with a running one, and the imports."""
    home = bench.folder / "home"
    runs = max(AT_LEAST_RUNS, bench.amounts.repeats)
    bench.say("cached flow: the run that fills the store")
    _run(environment(home))
    for server in ALLOWED_SECONDS:
        bench.say(f"cached flow: {server} Prefect server")
        with running_prefect(home) if server == "running" else no_server() as more:
            _run_cached({**environment(home), **more})  # this server's first flow
            measured = [_run_cached({**environment(home), **more}) for _ in range(runs)]
        yield from _rows_of(server, measured, bench)
    yield _import_row(bench)


def _rows_of(server: str, runs: list[CachedRun], bench: Bench) -> Iterator[Row]:
    """Seconds and memory of runs with this server."""
    how = f"quickstart, every step reused, median of {len(runs)} processes from start to end"
    figures = {
        "seconds": (statistics.median(run.seconds for run in runs), "s", ALLOWED_SECONDS[server]),
        "peak memory": (max(run.megabytes for run in runs), "MB", ALLOWED_MEGABYTES),
    }
    details = {"seconds": [run.seconds for run in runs], "peak_megabytes": [run.megabytes for run in runs]}
    for name, (amount, unit, allowed) in figures.items():
        yield limit_row(
            GROUP,
            f"cached flow, {server} Prefect server: {name}",
            Measured("python -m flows.classify", amount, unit, how),
            allowed,
            judged=bench.judged,
            same="no step ran, and torch was not imported",
            details=details,
        )


def _import_row(bench: Bench) -> Row:
    """The import of the flow against the one of Prefect and MLflow, both with the start of Python."""
    bench.say("cached flow: imports")
    env = environment(bench.folder / "home")
    statements = ("import flows.classify", "import prefect.flows, mlflow")
    processes = [
        partial(subprocess.run, [sys.executable, "-c", code], cwd=PROJECT, env=env, check=True) for code in statements
    ]
    ours, floor = median_seconds(processes, repeats=max(AT_LEAST_RUNS, bench.amounts.repeats))
    measured, other = (Measured(code, took, "s") for code, took in zip(statements, (ours, floor), strict=True))
    return Row(GROUP, "importing the flow", measured, other, ours / floor, better="lower")


def environment(home: Path) -> dict[str, str]:
    """That of a process in this home, without any server named."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    }
    return {**inherited, "FINETUNE_HOME": str(home), "PREFECT_HOME": str(home / "prefect")}


def _run(env: Mapping[str, str]) -> tuple[Any, float, Any]:
    """What a run printed, how long its process lived, and what it said of its memory."""
    command = [sys.executable, "-m", "benchmarks.memory", *COMMAND]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, env=dict(env), capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout), elapsed, json.loads(done.stderr.splitlines()[-1])


def _run_cached(env: Mapping[str, str]) -> CachedRun:
    """Raises `DifferentResultsError` if a step ran or torch was imported: then it is no cached run."""
    result, elapsed, memory = _run(env)
    ran = [step["step"] for step in result["steps"] if step["state"] == "ran" and step["step"] not in NEVER_REUSED]
    if ran or memory["heavy"]:
        raise DifferentResultsError(f"a cached run computed {ran} and imported {memory['heavy']}")
    return CachedRun(elapsed, memory["peak_bytes"] / 1e6)


@contextmanager
def no_server() -> Iterator[dict[str, str]]:
    """Nothing is there and nothing named: each run starts a temporary server."""
    yield {}


@contextmanager
def running_prefect(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server over this home, as `finetune ui` starts it; yields what a run's environment needs."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    own = {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    with running(
        ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        health=f"{api}/health",
        environment={**environment(home), **own},
        log=home / "prefect-server.log",
    ):
        yield {"PREFECT_API_URL": api}
