"""Asks a scoring server for minutes while its champion changes: `python -m benchmarks.soak [MINUTES]`, 10 by default.

No request may fail, and memory may not grow from the second change on: the first two need room for a second version.
"""

import asyncio
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow
import psutil
from mlflow import MlflowClient

from benchmarks.load import load
from benchmarks.server import free_port, running
from benchmarks.serving import NAME, OURS, command, register, served_from
from lib.data.samples.messages import ARCHIVE, MEMBER

CLIENTS = 8
WIDTH = 120  # tokens kept of a text
SECONDS = 120  # for a new champion to answer
MOST_GROWTH = 32_000_000  # bytes; a version of the tiny model has 13 MB
ENDLESS = 10**9  # requests


@dataclass(frozen=True)
class Soaked:
    """What was asked, and what became of it. `growth`: of the resident memory, in bytes."""

    requests: int
    failed: list[str]
    growth: int


def soak(address: str, pid: int, promote: Callable[[str], None], *, seconds: float, texts: list[str]) -> Soaked:
    """Has clients ask the server, whose champion is version 1, for so long, while `promote` makes version 2 and then 1
    champion: once to warm up, and once more afterwards."""
    process, enough = psutil.Process(pid), threading.Event()

    def change(pause: float) -> None:
        for version in "21":
            promote(version)
            _wait_until_champion(address, version)
            enough.wait(pause)  # which nobody ends early: clients go on meanwhile

    with ThreadPoolExecutor(1) as pool:
        asking = load(address, clients=CLIENTS, requests=ENDLESS, texts=texts, enough=enough.is_set)
        measured = pool.submit(asyncio.run, asking)
        try:
            change(pause=0)
            before = process.memory_info().rss
            change(pause=seconds / 2)
            growth = process.memory_info().rss - before
        finally:
            enough.set()
    answered = measured.result()
    return Soaked(len(answered["milliseconds"]), answered["failed"], growth)


def _wait_until_champion(address: str, version: str) -> None:
    ends = time.monotonic() + SECONDS
    while httpx.get(f"{address}/model", trust_env=False, timeout=60).json()["version"] != version:
        if time.monotonic() > ends:
            raise TimeoutError(f"version {version} is not served {SECONDS} s after its promotion")
        time.sleep(0.1)


def main(minutes: float) -> int:
    """Serves a tiny classifier in two versions and asks; 1 if a request failed or memory grew."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        texts = [line.split("\t", 1)[1] for line in archive.read(MEMBER).decode().splitlines()]
    with tempfile.TemporaryDirectory() as scratch:
        home, port = Path(scratch) / "home", free_port()
        register("tiny", WIDTH, home, precision="float32")
        mlflow.set_tracking_uri(served_from(home)["MLFLOW_TRACKING_URI"])  # which parts of the registry read
        tracking = MlflowClient()
        first = tracking.get_model_version(NAME, "1")
        tracking.create_model_version(NAME, source=str(first.source), run_id=first.run_id)
        address = f"http://127.0.0.1:{port}"
        with running(
            [*command(OURS, port, home), "--check", "1"],
            health=f"{address}/ping",
            environment=served_from(home),
            log=home / "server.log",
        ) as pid:
            soaked = soak(
                address,
                pid,
                lambda version: tracking.set_registered_model_alias(NAME, "champion", version),
                seconds=60 * minutes,
                texts=texts,
            )
    print(  # noqa: T201 - this is the program's output
        f"{soaked.requests:,} requests of {CLIENTS} clients in {minutes:g} minutes, {len(soaked.failed)} failed"
        f" {soaked.failed[:1] or ''}; memory grew by {soaked.growth / 1e6:.1f} MB"
    )
    return int(bool(soaked.failed) or soaked.growth > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
