"""Servers that end while they are watched: they are started again, unless that does not help."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.servers import processes
from flows.servers.processes import Server, _latest_results, watch
from lib.errors import ServiceError
from lib.processes.kept import Kept
from tasks.record.view import VERDICT_TAG

ENDS = "print('here', flush=True); import sys; sys.exit(3)"
STAYS = "print('here', flush=True); import time; time.sleep(600)"
ENDS_ONCE = f"""
import sys
from pathlib import Path
try:
    Path(sys.argv[1]).touch(exist_ok=False)
except FileExistsError:  # by an earlier one
    {STAYS}
{ENDS}
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(processes, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(processes, "AGAIN_SECONDS", (0.0, 0.01))


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    found: list[Server] = []
    yield found
    for server in found:
        server.stop()


def started(tmp_path: Path, name: str, code: str) -> Server:
    """A server that is ready at once."""
    command = [sys.executable, "-c", code, str(tmp_path / f"{name}.began")]
    return Server(name, "", Kept(command, "server", os.environ, tmp_path / name), lambda began: True)


def test_one_that_ends_is_started_again_and_noted(
    tmp_path: Path, servers: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    servers += [started(tmp_path, "stays", STAYS), started(tmp_path, "ends", ENDS_ONCE)]
    stays, first, began = servers[0].kept.process, servers[1].kept.process, servers[1].began
    stop = threading.Event()
    with caplog.at_level(logging.WARNING):
        watch(servers, stop, stop.set)
    assert servers[0].kept.process is stays
    assert servers[1].kept.process is not first
    assert servers[1].began > began
    assert [record.getMessage() for record in caplog.records] == [
        f"ends ended with status 3: see {tmp_path / 'ends'}. It is started again"
    ]


def test_one_that_goes_on_ending_is_given_up_in_a_sentence(tmp_path: Path, servers: list[Server]) -> None:
    servers.append(started(tmp_path, "ends", ENDS))
    noted: list[int] = []
    expected = re.escape(
        f"ends ended with status 3: see {tmp_path / 'ends'}. It was started again 2 times in 10 minutes, which did not"
        " help, so all of it was stopped"
    )
    with pytest.raises(ServiceError, match=expected):
        watch(servers, threading.Event(), lambda: noted.append(1))
    assert len(noted) == 2
    assert (tmp_path / "ends").read_text() == "here\n" * 3  # why each of them ended can be read


def test_mlflow_opens_on_the_runs_among_which_somebody_trained_last(tmp_path: Path) -> None:
    tracking = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert _latest_results(tracking).startswith("/#/experiments?")
    trained, other, scored = (tracking.create_experiment(name) for name in ("quickstart", "reviews", "score-messages"))
    tracking.create_run(scored, start_time=9)
    assert f"/experiments/{scored}/runs" in _latest_results(tracking)
    tracking.create_run(other, start_time=5, tags={VERDICT_TAG: "kept"})
    tracking.create_run(trained, start_time=7, tags={VERDICT_TAG: "promoted"})
    assert f"/experiments/{trained}/runs" in _latest_results(tracking)
