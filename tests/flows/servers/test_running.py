"""What runs here goes on where it cannot be noted, or told to Prefect: that is a warning."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from flows.servers import running
from flows.servers.worker import Worker
from lib.processes.kept import Kept
from tasks.running import UP, Note, read_note
from tests.support.http_server import HttpServer, Reply


def test_a_note_that_cannot_be_written_is_a_warning_and_the_servers_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    note = Note(prefect="http://127.0.0.1:4200/api", mlflow="http://127.0.0.1:5000", pages={}, over_files=True)
    running.write(note, [])
    assert read_note(UP) == note
    assert [path.name for path in tmp_path.iterdir()] == [UP]
    running.remove()
    running.remove()
    (tmp_path / UP).mkdir()
    with caplog.at_level(logging.WARNING):
        running.write(note, [])
    assert f"{tmp_path / UP} cannot be written (Is a directory)" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [UP]
    running.remove()


@pytest.mark.parametrize("answer", [Reply(b"<html>"), Reply(b"{}", status=404), Reply(b"{}", status=503)])
def test_a_worker_ends_whatever_answers_in_prefects_place(
    answer: Reply, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    with HttpServer() as server:
        server.serve("/api/flow_runs/filter", answer)
        kept = Kept([sys.executable, "-c", "pass"], "family", environment=os.environ, log=tmp_path / "log")
        worker = Worker("Worker", "", kept, lambda began: True, api=server.url("/api"))
        with caplog.at_level(logging.WARNING):
            worker.stop()
    assert caplog.text.count("Prefect could not be told which runs were stopped: ") == 1
