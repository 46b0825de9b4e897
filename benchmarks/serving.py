"""Row "serving": requests a second of `python -m flows.serve`, by clients at once, against two other servers.

These are ONNX Runtime called directly in a bare handler of FastAPI (`bare.py`), and plain `mlflow models serve`. All
serve the same registered classifier with the same graph of ONNX Runtime, each in one process. Each client sends one
text, waits for the answer and sends the next (`load.py`, a process of its own). A request that fails on any side fails
the row.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import torch

from benchmarks.cached_flow import environment
from benchmarks.classifiers import save, serve_with_onnxruntime
from benchmarks.harness import DifferentResultsError, Measured, Row, Target, ratio_row, require_same
from benchmarks.real_weights import MINILM, real_weights
from benchmarks.server import free_port, running
from benchmarks.workload import LABELS, QUICK, Bench
from lib.files.jsonfile import save_json

GROUP = "serving"
CLIENTS = (1, 8, 32)
NAME, CLASSIFIER = "served", "classifier"  # the registered model, and the folder that it was made from
OURS, BARE, MLFLOW = "python -m flows.serve", "ONNX Runtime in a bare FastAPI", "mlflow models serve"
SHORT = {BARE: "a bare handler", MLFLOW: "mlflow models serve"}
AT_LEAST = {BARE: 1.0, MLFLOW: 3.0}  # times as many requests a second as the others
WARM_UP = 32  # requests
ROUNDS = 4  # in which the servers are asked in turn
COMPARED = 16  # texts
MOST_SPREAD = 4.0  # p99 over p50 with one client


class Figures(NamedTuple):
    """Of a server asked by so many clients."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Served:
    """What is served: a GPT of this size, or MiniLM, in this precision.

    requests: of each measurement, some ten seconds of work on two cores. at_least: requests a second, by clients.
    """

    model: str
    precision: str
    requests: int
    at_least: Mapping[int, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        return f"{self.model}, {self.precision}"


SERVED = (
    Served("tiny", "float32", 6000, {8: 800}),
    Served("gpt2-small", "float32", 480, {1: 45}),
    Served("gpt2-small", "int8", 1200, {1: 100, 8: 130, 32: 130}),
    Served(MINILM, "int8", 3000, {1: 300}),
)
QUICK_SERVED = (Served("tiny", "float32", 64),)


def rows(bench: Bench) -> Iterator[Row]:
    """For each model, other side and number of clients, the requests a second of both and how long they took."""
    texts = bench.workload.messages.texts
    file = bench.folder / "texts.json"
    save_json(texts, file)
    for served in QUICK_SERVED if bench.amounts == QUICK else SERVED:
        if served.model == MINILM and real_weights(MINILM) is None:
            bench.say(f"serving {served.words} is skipped: its weights are not here (make models)")
            continue
        home = bench.folder / f"home-{served.model}-{served.precision}"
        register(served.model, bench.workload.width, home, precision=served.precision, texts=texts)
        yield from _measured(bench, served, home, file, texts[:COMPARED])


def _measured(bench: Bench, served: Served, home: Path, file: Path, some: Sequence[str]) -> Iterator[Row]:
    """The servers stand side by side and are asked in turn, so that whatever else slows the machine slows all."""
    bench.say(f"serving: {served.words}")
    answers, addresses = {}, {}
    with ExitStack() as stack:
        for side in (OURS, *AT_LEAST):
            port = free_port()
            addresses[side] = address = f"http://127.0.0.1:{port}"
            starting = running(
                command(side, port, home),
                health=f"{address}/ping",
                environment=served_from(home),
                log=home / f"{port}.log",
            )
            stack.enter_context(starting)
            answers[side] = probabilities(address, some)
            asked(address, clients=max(CLIENTS), requests=WARM_UP, texts=file)
        measured: dict[str, list[Figures]] = {side: [] for side in addresses}
        for clients in CLIENTS:
            rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in addresses}
            for _ in range(ROUNDS):
                for side, address in addresses.items():
                    rounds[side].append(asked(address, clients=clients, requests=served.requests // ROUNDS, texts=file))
            for side, found in rounds.items():
                measured[side].append(_figures(found))
    for side, at_least in AT_LEAST.items():
        same = require_same("probabilities", answers[OURS], answers[side])
        for clients, ours, other in zip(CLIENTS, measured[OURS], measured[side], strict=True):
            yield ratio_row(
                GROUP,
                f"serving {served.words}: {clients} {'client' if clients == 1 else 'clients'}, against {SHORT[side]}",
                _side(OURS, ours),
                _side(side, other),
                at_least=at_least if bench.judged else None,
                same=f"{same}; none of {served.requests:,} requests failed on either side",
                details={"ours": ours._asdict(), "other": other._asdict()},
            )
    if bench.judged:
        yield from _absolute(served, dict(zip(CLIENTS, measured[OURS], strict=True)))


def _absolute(served: Served, measured: Mapping[int, Figures]) -> Iterator[Row]:
    """What ours must reach whatever the others do."""
    for clients, at_least in served.at_least.items():
        yield ratio_row(
            GROUP,
            f"serving {served.words}: {clients} {'client' if clients == 1 else 'clients'}, requests a second",
            _side(OURS, measured[clients]),
            Measured("what it must reach", at_least, "requests/s"),
            at_least=1.0,
        )
    alone = measured[1]
    spread = alone.p99_ms / alone.p50_ms
    yield Row(
        GROUP,
        f"serving {served.words}: 1 client, 99th percentile over the median",
        Measured(OURS, alone.p99_ms, "ms"),
        Measured("the median", alone.p50_ms, "ms"),
        spread,
        Target(f"at most {MOST_SPREAD:g}x", spread <= MOST_SPREAD),
        better="lower",
    )


def register(model: str, width: int, home: Path, *, precision: str | None = None, texts: Sequence[str] = ()) -> None:
    """Registers a new classifier in a new home, as its champion: served with ONNX Runtime in this precision, or with
    torch (None)."""
    folder = home / CLASSIFIER
    save(model, folder, max_length=width)
    if precision is not None:
        serve_with_onnxruntime(folder, precision, texts)
    # In a process of its own: MLflow remembers where it was pointed first.
    registering = [sys.executable, "-m", "benchmarks.registering", str(folder), NAME]
    subprocess.run(registering, env={**environment(home), "MLFLOW_LOGGING_LEVEL": "WARNING"}, check=True)


def command(side: str, port: int, home: Path) -> list[str]:
    """What stands after `python -m` to serve what `register` registered in `home`."""
    if side == OURS:
        return ["flows.serve", "--port", str(port)]
    if side == BARE:
        return ["benchmarks.bare", str(home / CLASSIFIER), str(port)]
    where = ["--host", "127.0.0.1", "--port", str(port), "--env-manager", "local"]
    return ["mlflow", "models", "serve", "-m", f"models:/{NAME}@champion", *where]


def served_from(home: Path) -> dict[str, str]:
    """The environment of a server of either side; MLflow finds its own programs on the path."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tracking = f"sqlite:///{home / 'mlflow.db'}"
    return {**environment(home), "MLFLOW_TRACKING_URI": tracking, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": programs}


def probabilities(address: str, texts: Sequence[str]) -> torch.Tensor:
    """What the server answers for texts in one request: (texts, labels)."""
    answer = httpx.post(f"{address}/invocations", json={"inputs": list(texts)}, timeout=300, trust_env=False)
    answer.raise_for_status()
    return torch.tensor([[row[f"probability_{label}"] for label in LABELS] for row in answer.json()["predictions"]])


def asked(address: str, *, clients: int, requests: int, texts: Path) -> dict[str, Any]:
    """What `load.py` measured; raises DifferentResultsError if a request failed."""
    arguments = ["-m", "benchmarks.load", address, str(clients), str(requests), str(texts)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    if failed := measured["failed"]:
        raise DifferentResultsError(f"{len(failed)} of {requests} requests of {clients} clients failed: {failed[0]}")
    return measured


def _figures(rounds: Sequence[dict[str, Any]]) -> Figures:
    """The median rate of the rounds, and the percentiles of all their requests."""
    rates = [len(each["milliseconds"]) / each["seconds"] for each in rounds]
    p50, p99 = np.percentile([milliseconds for each in rounds for milliseconds in each["milliseconds"]], [50, 99])
    return Figures(statistics.median(rates), float(p50), float(p99))


def _side(name: str, figures: Figures) -> Measured:
    what = f"{name}: p50 {figures.p50_ms:,.1f} ms, p99 {figures.p99_ms:,.1f} ms"
    return Measured(what, figures.requests_per_second, "requests/s")
