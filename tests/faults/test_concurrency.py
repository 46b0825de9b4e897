"""Flows at once in one home, of the same and of different recipes: all succeed, and each artifact is made once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.outcomes import FULL, Outcomes, scale
from tests.support.counted import calls_counted
from tests.support.e2e import PROJECT, Home, ran
from tests.support.forked import run_forked
from tests.support.postgres import postgres
from tests.support.up import up

pytestmark = [pytest.mark.faults, pytest.mark.e2e]

# What Prefect's client calls before it asks again.
AGAIN = "prefect.client.base:_record_if_maintenance_backoff"
AT_ONCE = scale(3, 8)
# Each recipe twice, but for the last of an odd number.
RATES = [f"--training.learning_rate={0.001 * (1 + number // 2):g}" for number in range(AT_ONCE)]


def at_once(home: Home) -> tuple[list[Any], list[int]]:
    """What each of the runs printed, and how often each asked Prefect's server again."""

    def run(rate: str) -> tuple[Any, int]:
        command = ["tests.support.counted", AGAIN, "flows.classify", *home.arguments("--json", rate)]
        done = run_forked(command, folder=PROJECT, environment=home.env())
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1]), calls_counted(done.stderr)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results, again = zip(*pool.map(run, RATES), strict=True)
    return list(results), list(again)


def check(home: Home, results: list[Any]) -> None:
    """Every artifact was made by one run, is there once, and is the same for all; every model is one version."""
    made = Counter((step, key) for result in results for step, key in keys(result).items() if step in ran(result))
    needed = {(step, key) for result in results for step, key in keys(result).items()}
    assert made == Counter(dict.fromkeys(needed, 1))
    there = {(step, folder.name) for step, folders in home.artifacts().items() for folder in folders}
    assert there == needed
    artifacts = [step["artifact"] for result in results for step in result["steps"] if step["artifact"]]
    assert len({(made["step"], made["key"], made["digest"]) for made in artifacts}) == len(needed)
    recipes = len(set(RATES))
    versions = Counter(result["registered"]["version"] for result in results if result["registered"]["new"])
    assert versions == Counter({f"{number + 1}": 1 for number in range(recipes)})


def keys(result: Any) -> dict[str, str]:
    """The key of each step's artifact."""
    return {step["step"]: step["artifact"]["key"] for step in result["steps"] if step["artifact"]}


def attempt(home: Home, where: str, outcomes: Outcomes) -> None:
    """Runs all at once; notes each flow, how long they took and how often they asked again."""
    started = time.monotonic()
    with outcomes.trying(f"{AT_ONCE} flows at once, {where}"):
        results, again = at_once(home)
        check(home, results)
        seconds = time.monotonic() - started
        outcomes.state(f"{where}, {AT_ONCE} flows of {len(set(RATES))} recipes", f"{seconds:.0f} s in all")
        outcomes.state(f"{where}, requests to Prefect repeated", f"{sum(again)}, at most {max(again)} by one flow")


def test_over_local_files_without_a_server(tmp_path: Path, small_data: Path, outcomes: Outcomes) -> None:
    # Each run starts a temporary server over the same new database.
    attempt(Home(tmp_path / "home", small_data), "SQLite", outcomes)


@pytest.mark.skipif(not FULL, reason="tried by `make faults` alone")
def test_with_both_servers_on_postgresql(
    tmp_path: Path, small_data: Path, outcomes: Outcomes, give_database: Callable[[Home], None]
) -> None:
    home = Home(tmp_path / "home", small_data)
    with postgres() as address, up(home, DATABASE=address) as running:
        environment = {"PREFECT_API_URL": running.api, "MLFLOW_TRACKING_URI": running.mlflow}
        attempt(replace(home, environment=environment), "PostgreSQL", outcomes)
