"""Kept commands: they end with whoever started them, with all that they have started, and hold no pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lib.processes.keeper import is_over
from lib.processes.kept import Kept
from tests.support.e2e import PROJECT, wait_until

# A command with a child in a session of its own; it notes both, and how it was asked to end.
COMMAND = """
import os, signal, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=True, stderr=subprocess.DEVNULL)
def asked(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit()
signal.signal(signal.SIGINT, asked)
print(os.getpid(), child.pid, sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))), flush=True)
time.sleep(600)
"""
STARTER = """
import os, sys, time
from pathlib import Path
from lib.processes.kept import Kept
kept = Kept([sys.executable, "-u", "-c", sys.argv[2]], sys.argv[3], environment=dict(os.environ), log=Path(sys.argv[1]))
time.sleep(600)
"""


def noted(log: Path) -> tuple[list[psutil.Process], str]:
    """The command and its child, once they run, and which signals are kept from them."""
    wait_until(lambda: log.exists() and log.read_text().count("\n") > 0, seconds=60, what="the command")
    command, child, blocked = log.read_text().splitlines()[0].split(" ", 2)
    return [psutil.Process(int(command)), psutil.Process(int(child))], blocked


@pytest.mark.parametrize(
    ("manner", "blocked", "asked"), [("server", [signal.SIGHUP, signal.SIGTERM], ["SIGINT"]), ("family", [], [])]
)
def test_all_of_a_command_ends_when_whoever_started_it_is_killed(
    tmp_path: Path, manner: str, blocked: list[signal.Signals], asked: list[str]
) -> None:
    log = tmp_path / "log"
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(log), COMMAND, manner], cwd=PROJECT, stdout=subprocess.PIPE
    )
    family, kept_out = noted(log)
    assert kept_out == str([int(kind) for kind in blocked])
    assert os.getpgid(family[0].pid) != os.getpgid(starter.pid)
    starter.kill()
    assert starter.communicate(timeout=60)[0] == b""  # to its end: nobody else holds the pipe
    wait_until(lambda: all(map(is_over, family)), seconds=30, what="the end of the command and of its child")
    assert log.read_text().splitlines()[1:] == asked


def test_a_command_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-u", "-c", COMMAND]
    kept = Kept(command, "server", environment=dict(os.environ), log=log)
    family, _ = noted(log)
    kept.stop()
    assert all(map(is_over, family))
    assert log.read_text().splitlines()[1:] == ["SIGINT"]


def test_a_command_whose_keeper_does_not_end_it_is_killed_after_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.processes.kept.STOP_SECONDS", 0.2)
    kept = Kept([sys.executable, "-u", "-c", COMMAND], "server", environment=dict(os.environ), log=tmp_path / "log")
    family, _ = noted(tmp_path / "log")
    kept.process.send_signal(signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kept, "_rest", lambda self: family)  # where the keeper cannot be looked at
        kept.stop()
    assert kept.process.returncode == -signal.SIGKILL
    assert all(map(is_over, family))


def test_what_a_command_leaves_when_it_ends_is_ended_and_its_status_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-u", "-c", COMMAND]
    kept = Kept(command, "family", environment=dict(os.environ), log=log)
    family, _ = noted(log)
    family[0].kill()
    assert kept.process.wait(30) == 128 + signal.SIGKILL
    assert all(map(is_over, family))
    kept.stop()


def test_what_a_killed_keeper_leaves_is_ended_before_its_command_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    kept = Kept([sys.executable, "-u", "-c", COMMAND], "family", environment=dict(os.environ), log=log)
    (command, child), _ = noted(log)
    kept.process.kill()
    assert kept.process.wait(30) == -signal.SIGKILL
    wait_until(lambda: is_over(command), seconds=60, what="the end of the command, which the kernel sees to")
    assert not is_over(child)  # which has a session of its own
    kept.end_rest()
    assert is_over(child)
    kept.start()
    wait_until(lambda: log.read_text().count("\n") > 1, seconds=60, what="the second command, in the same log")
    again = [psutil.Process(int(pid)) for pid in log.read_text().splitlines()[1].split()[:2]]
    kept.process.kill()
    kept.stop()
    assert all(map(is_over, again))


def test_who_has_been_asked_to_end_is_not_asked_again_before_it_is_ended(tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    command = f"import subprocess, sys, time; subprocess.Popen([sys.executable, {str(stubborn)!r}]); time.sleep(600)"
    keeping = (
        "import sys; from lib.processes import keeper; keeper.ASK_SECONDS = 0.5;"
        " sys.exit(keeper.main('family', sys.executable, '-c', sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", keeping, command],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    said, _ = process.communicate(timeout=30)
    assert said == "asked\n"


def test_a_command_that_outlives_another_ends_after_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    command = [sys.executable, "-u", "-c", COMMAND]
    server = Kept(command, "server", environment=dict(os.environ), log=first)
    asker = Kept(command, "family", environment=dict(os.environ), log=second, survivors=[server])
    family, _ = noted(first)
    noted(second)
    os.close(server._held)  # as when this process ended
    assert not any(map(is_over, family))
    asker.stop()
    server.process.wait(30)
    assert all(map(is_over, family))
