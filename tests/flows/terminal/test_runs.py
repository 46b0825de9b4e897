"""What reaches a terminal of a run, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.e2e import PROJECT

pytestmark = pytest.mark.slow

# A server that has gone away while events and logs wait for it, and a parameter longer than MLflow keeps.
TROUBLE = """
import logging
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from mlflow.utils.validation import _validate_length_limit
{quiet}
logging.getLogger("EventsWorker").warning("Still processing items: 3 items remaining...")
emit_event("a.b", {{"prefect.resource.id": "c"}})
APILogWorker.instance().send({{"message": "d", "__payload_size__": 1}})
EventsWorker.drain_all(timeout=20)
APILogWorker.drain_all(timeout=20)
_validate_length_limit("Param value", 6000, "x" * 7000, truncate=True)
logging.getLogger("finetune.store").warning("something to act upon")
"""
QUIET = "from flows.terminal.runs import keep_errors_off_the_terminal\nkeep_errors_off_the_terminal()"


@pytest.mark.parametrize("quiet", ["", QUIET], ids=["by itself", "here"])
def test_what_prefect_and_mlflow_say_of_themselves_stays_off_the_terminal(tmp_path: Path, quiet: str) -> None:
    environment = {
        **os.environ,
        "FINETUNE_HOME": str(tmp_path),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_CLIENT_MAX_RETRIES": "0",
    }
    code = f"import flows\n{TROUBLE.format(quiet=quiet)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    internal = [
        word for word in ("Worker", "items", "Error logging to API", "truncated", "Service") if word in done.stderr
    ]
    assert bool(internal) == (not quiet), done.stderr
    assert "something to act upon" in done.stderr
