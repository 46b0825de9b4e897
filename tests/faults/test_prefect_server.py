"""Prefect's server is lost while a run goes on: it ends with its result, and the next run tells the server how."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import psutil
import pytest

from tests.faults.outcomes import FULL, Outcomes
from tests.support.e2e import Home, of_home, ran

pytestmark = [pytest.mark.faults, pytest.mark.e2e]

KILLED, SILENT = signal.SIGKILL, signal.SIGSTOP  # one that is stopped takes connections, and answers none
EVERYWHERE = ("download", "features", "finetune", "evaluate", "register")
TRIED = [(kind, step) for kind in (KILLED, SILENT) for step in EVERYWHERE] if FULL else [(KILLED, "finetune")]
INCOMPLETE = "warning: Prefect's page of this run is incomplete: the temporary server was lost on the way ("


def server_of(home: Home) -> psutil.Process:
    """The temporary server of a home's run, below its keeper."""
    (found,) = [
        process
        for process in of_home(home)
        if "uvicorn" in process.cmdline() and not any("keeper.py" in part for part in process.cmdline())
    ]
    return found


@pytest.mark.parametrize(("kind", "step"), TRIED, ids=lambda value: getattr(value, "name", value))
def test_a_run_goes_on_without_its_page(
    kind: signal.Signals, step: str, copied: Home, give_database: Callable[[Home], None], outcomes: Outcomes
) -> None:
    give_database(copied)
    home = replace(copied, environment={})
    arguments = home.arguments("--json", "--training.learning_rate=0.003")
    run = subprocess.Popen(
        home.command(*arguments), env=home.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    while not (line := run.stderr.readline()).startswith(f"{step} begins"):
        assert line, run.communicate()
    server_of(home).send_signal(kind)
    began = time.monotonic()
    out, err = run.communicate(timeout=240)
    seconds = time.monotonic() - began
    good = run.returncode == 0 and err.count(INCOMPLETE) == 1 and "Traceback" not in err and of_home(home) == []
    told = False
    if good:
        result = json.loads(out.splitlines()[-1])
        good = "finetune" in ran(result) and result["registered"]["new"]
        assert ran(home.run("--training.learning_rate=0.003")) == []
        told = state(home, result["flow_run"]) == "COMPLETED"
    lost = f"{kind.name} at {step}: {run.returncode} {err[-500:]!r} {told=}"
    outcomes.note(f"Prefect's server {kind.name} at {step}", good and told, lost=lost, seconds=seconds)


def state(home: Home, flow_run: str) -> str:
    """What the home's Prefect database says of a run."""
    with closing(sqlite3.connect(home.folder / "prefect" / "prefect.db")) as database:
        ((found,),) = database.execute(
            "select state_type from flow_run where replace(id, '-', '') = ?", [flow_run.replace("-", "")]
        )
    return str(found)
