"""The note of what runs here: whole, or a warning."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flows.servers import running
from tasks.running import UP, Note, read_note


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
