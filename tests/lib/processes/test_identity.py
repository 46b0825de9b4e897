"""Which process is meant, on which machine and since which boot, whatever becomes of its clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import psutil
import pytest

from lib.processes.identity import Process, lives, this_process


def test_this_process_lives_and_is_found_by_its_name() -> None:
    mine = this_process()
    assert (mine.host, mine.pid) == (socket.gethostname(), os.getpid())
    assert mine.lives
    assert not mine.is_gone
    assert Process.named(mine.name) == mine
    assert lives(mine.name)
    assert mine.find() == psutil.Process()


def test_one_that_has_ended_is_gone_also_while_its_parent_has_not_taken_note() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child = Process.of(process.pid)
    assert child.lives
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays as it is
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert child.is_gone
    with pytest.raises(ProcessLookupError):
        Process.of(process.pid)
    process.communicate()
    assert child.is_gone
    assert child.find() is None


@pytest.mark.parametrize("other", [{"began": 1}, {"boot": "an earlier one"}])
def test_a_later_one_with_its_number_is_another(other: dict[str, int | str]) -> None:
    earlier = this_process().model_copy(update=other)
    assert not earlier.lives
    assert earlier.is_gone
    assert earlier.find() is None


def test_of_another_machine_nothing_can_be_told() -> None:
    elsewhere = this_process().model_copy(update={"host": "another"})
    assert not elsewhere.lives
    assert not elsewhere.is_gone
    assert elsewhere.find() is None


def test_a_clock_that_is_set_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = this_process()
    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)  # of which psutil makes the time when a process began
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert mine.lives
    assert this_process() == mine


@pytest.mark.parametrize("text", ["", "123@45.67", "host boot pid began", "a b c d e"])
def test_what_names_no_process_is_none(text: str) -> None:
    assert Process.named(text) is None
    assert not lives(text)


def test_where_the_kernel_counts_from_no_boot_the_clock_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert this_process().lives
    assert this_process().began == round(psutil.Process().create_time() * 100)
