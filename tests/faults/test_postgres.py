"""PostgreSQL is killed in the middle of a run and started again: under both servers, or where runs write into it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.servers.database import create_missing, databases
from tests.faults.outcomes import FULL, Outcomes, Try
from tests.support.e2e import HTTP, Home, copy_of, experiment_id, ran
from tests.support.postgres import Postgres, postgres_server
from tests.support.publishing import EXPERIMENT
from tests.support.up import up

pytestmark = [
    pytest.mark.faults,
    pytest.mark.e2e,
    pytest.mark.skipif(not FULL, reason="tried by `make faults` alone"),
]

STEPS = ("download", "finetune", "register")
LONGEST = 400  # seconds of a run
POINTS = 10  # of a training's curve; the second run of a recipe repeats none
BACK = {"at once": True, "after the run": False}


@dataclass
class Served:
    """A database, and a home whose runs are told to servers, or to MLflow, over it."""

    database: Postgres
    home: Home
    tracking: MlflowClient
    prefect: str = ""  # Prefect's API, where its server is over the database, too
    tries: int = 0

    def attempt(self, step: str, tried: Try, *, at_once: bool) -> None:
        """Kills PostgreSQL when a step of a run begins: the run ends, within `LONGEST` seconds, and nothing of it is
        lost."""
        self.tries += 1
        name = f"postgres-{self.tries}"
        changes = [f"--training.learning_rate={0.002 + 0.0001 * self.tries:.4f}", f"--registry.name={name}"]
        run = self.home.start(*changes)
        try:
            assert run.stderr is not None
            said = ""
            while not (line := run.stderr.readline()).startswith(f"{step} begins"):
                assert line, said
                said += line
            began = time.monotonic()
            self.database.kill()
            if at_once:
                self.database.start()
            printed, complained = run.communicate(timeout=LONGEST)
            tried.seconds = time.monotonic() - began
        finally:
            run.kill()
            if not at_once:
                self.database.start()
        assert not run.returncode, f"{run.returncode} {complained[-500:]!r}"
        assert "Traceback" not in complained, complained[-500:]
        lost = self._missing(name, changes, json.loads(printed.splitlines()[-1]), complained)
        assert not lost, lost

    def _missing(self, name: str, changes: list[str], result: Any, complained: str) -> str:
        """What of a run is not there once all is delivered, in a sentence; empty: nothing."""
        if "finetune" not in ran(result):
            return "it did not train"
        sent = self.home.call(module="flows.deliver")
        if sent.returncode or "none waiting" not in sent.stdout:
            return f"delivering: {sent.stdout} {sent.stderr}"
        again = self.home.run(*changes)  # which tells Prefect's server how the last one ended
        if ran(again):
            return f"{ran(again)} were computed again"
        experiment = experiment_id(self.tracking, EXPERIMENT)
        runs = self.tracking.search_runs([experiment], f"params.`registry.name` = '{name}'")
        ends = [found.info.status for found in runs]
        versions = [str(found.version) for found in self.tracking.search_model_versions(f"name = '{name}'")]
        points = [len(self.tracking.get_metric_history(found.info.run_id, "validation/loss")) for found in runs]
        if ends != ["FINISHED"] * 2 or versions != ["1"] or sorted(points) != [0, POINTS]:
            return f"MLflow has runs that {ends}, versions {versions} and points {points}: {complained[-300:]!r}"
        if self.prefect:
            state = HTTP.get(f"{self.prefect}/flow_runs/{result['flow_run']}").json()["state_type"]
            return "" if state == "COMPLETED" else f"Prefect says {state}"
        return ""


@pytest.fixture(scope="module")
def both(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`finetune up` over PostgreSQL."""
    home = copy_of(finished[0], tmp_path_factory.mktemp("both") / "home")
    with postgres_server() as database, up(home, DATABASE=database.address) as running:
        told = replace(home, environment={"PREFECT_API_URL": running.api, "MLFLOW_TRACKING_URI": running.mlflow})
        yield Served(database, told, MlflowClient(running.mlflow, registry_uri=running.mlflow), running.api)
        assert running.process.poll() is None, "`finetune up` has ended"


@pytest.mark.parametrize("back", BACK)
@pytest.mark.parametrize("step", STEPS)
def test_under_both_servers(step: str, back: str, both: Served, outcomes: Outcomes) -> None:
    with outcomes.trying(f"PostgreSQL under both servers killed, started {back}") as tried:
        both.attempt(step, tried, at_once=BACK[back])


@pytest.fixture(scope="module")
def alone(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Served]:
    """Runs that write into PostgreSQL themselves, without a server of MLflow."""
    home = copy_of(finished[0], tmp_path_factory.mktemp("alone") / "home")
    with postgres_server() as database:
        wanted = databases(database.address)
        create_missing(wanted)
        told = replace(home, environment={"PREFECT_API_URL": prefect_api, "MLFLOW_TRACKING_URI": wanted.mlflow_url})
        yield Served(database, told, MlflowClient(wanted.mlflow_url, registry_uri=wanted.mlflow_url))


@pytest.mark.parametrize("back", BACK)
@pytest.mark.parametrize("step", STEPS)
def test_under_mlflow_alone(step: str, back: str, alone: Served, outcomes: Outcomes) -> None:
    with outcomes.trying(f"PostgreSQL that runs write into themselves killed, started {back}") as tried:
        alone.attempt(step, tried, at_once=BACK[back])
