"""Temporary files lie in the home, and go: at the end, or with the next process after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.environment import home
from tasks.temporary import temporary_files
from tests.support.e2e import PROJECT

BEGUN = """
import os, signal, sys, tempfile
from tasks.temporary import temporary_files
with temporary_files():
    folder = tempfile.mkdtemp()
    print(folder, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))


def test_they_lie_in_the_home_and_go_at_the_end() -> None:
    before = tempfile.gettempdir()
    with temporary_files():
        file = Path(tempfile.mkdtemp()) / "file"
        file.touch()
        assert file.is_relative_to(home() / "tmp")
    assert not file.exists()
    assert [path.name for path in (home() / "tmp").iterdir()] == [".lock"]
    assert tempfile.gettempdir() == before


def test_those_of_a_killed_process_go_with_the_next_and_those_of_a_living_one_stay() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BEGUN], cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        with temporary_files():
            assert folder.is_dir()
        process.communicate("die\n")
        assert process.returncode == -signal.SIGKILL
    assert folder.is_dir()
    with temporary_files():
        assert not folder.parent.exists()


def test_a_home_that_may_only_be_read_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    home().mkdir()
    monkeypatch.setattr("tasks.temporary.os.access", lambda path, mode: False)
    before = tempfile.gettempdir()
    with temporary_files():
        assert tempfile.gettempdir() == before
    assert list(home().iterdir()) == []
