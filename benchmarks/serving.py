"""Row "serving": requests a second of `python -m flows.serve`, by clients at once, against two other servers.

These are the same predictor in a bare handler of FastAPI (`bare.py`), and plain `mlflow models serve`. All serve the
same registered classifier with random weights, in one process, one after the other. Each client sends one text, waits
for the answer and sends the next (`load.py`, a process of its own). A request that fails on any side fails the row.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from benchmarks.cached_flow import environment
from benchmarks.harness import DifferentResultsError, Measured, Row, ratio_row, require_same
from benchmarks.server import free_port, running
from benchmarks.workload import LABELS, QUICK, WEIGHTS_SEED, Bench
from lib.files.jsonfile import save_json
from lib.model.classifier import new_classifier, save_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.usage import Usage
from lib.text.gpt2 import gpt2_tokenizer

GROUP = "serving"
CLIENTS = (1, 8, 32)
# Name of the shape -> requests of each measurement: some ten seconds of work on two cores.
REQUESTS = {"tiny": 3000, "gpt2-small": 320}
QUICK_REQUESTS = {"tiny": 64}
WARM_UP = 32  # requests
COMPARED = 16  # texts
NAME, CLASSIFIER = "served", "classifier"  # the registered model, and the folder that it was made from
OURS, BARE, MLFLOW = "python -m flows.serve", "FastAPI with our predictor", "mlflow models serve"
AT_LEAST = {BARE: 1.0, MLFLOW: 3.0}  # times as many requests a second as the others


def rows(bench: Bench) -> Iterator[Row]:
    """For each shape, other side and number of clients, the requests a second of both and how long they took."""
    texts = bench.workload.messages.texts
    file = bench.folder / "texts.json"
    save_json(texts, file)
    for shape, requests in (QUICK_REQUESTS if bench.amounts == QUICK else REQUESTS).items():
        home = bench.folder / f"home-{shape}"
        register(SIZES[shape], bench.workload.width, home)
        measured: dict[str, list[dict[str, Any]]] = {}
        answers = {}
        for side in (OURS, *AT_LEAST):
            bench.say(f"serving: {shape}, {side}")
            port = free_port()
            address = f"http://127.0.0.1:{port}"
            log = home / "server.log"
            with running(command(side, port, home), health=f"{address}/ping", environment=served_from(home), log=log):
                answers[side] = probabilities(address, texts[:COMPARED])
                asked(address, clients=max(CLIENTS), requests=WARM_UP, texts=file)
                measured[side] = [asked(address, clients=n, requests=requests, texts=file) for n in CLIENTS]
        for side, at_least in AT_LEAST.items():
            same = require_same("probabilities", answers[OURS], answers[side])
            for clients, ours, other in zip(CLIENTS, measured[OURS], measured[side], strict=True):
                yield ratio_row(
                    GROUP,
                    f"serving: {shape} shape, {clients} {'client' if clients == 1 else 'clients'} at once",
                    _side(OURS, ours),
                    _side(side, other),
                    at_least=None if bench.amounts == QUICK else at_least,
                    same=f"{same}; none of {requests} requests failed on either side",
                    details={"ours": _figures(ours), "other": _figures(other)},
                )


def register(config: GPTConfig, width: int, home: Path) -> None:
    """A classifier of this shape with random weights, registered in a new home and its champion."""
    folder = home / CLASSIFIER
    folder.mkdir(parents=True)
    gpt = new_gpt(config, seed=WEIGHTS_SEED)
    classifier = new_classifier(PooledGPT(gpt, pooling="last_token"), LABELS, trainable="head", seed=WEIGHTS_SEED)
    save_classifier(folder, classifier, Usage(max_length=width, padding="batch", precision="float32"))
    gpt2_tokenizer().save(folder)
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


def _figures(measured: dict[str, Any]) -> dict[str, float]:
    p50, p99 = np.percentile(measured["milliseconds"], [50, 99])
    return {"requests_per_second": len(measured["milliseconds"]) / measured["seconds"], "p50_ms": p50, "p99_ms": p99}


def _side(name: str, measured: dict[str, Any]) -> Measured:
    figures = _figures(measured)
    what = f"{name}: p50 {figures['p50_ms']:,.1f} ms, p99 {figures['p99_ms']:,.1f} ms"
    return Measured(what, figures["requests_per_second"], "requests/s")
