"""Signals that ask a process to stop, with real processes and real signals."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.e2e import PROJECT

BEGINNING = """
import os, signal, sys, threading, time
from lib.processes.stopping import Heard, Stopped, signals_heard, signals_held, stoppable
heard = Heard()
def tell(kind): print("at once", kind.name, flush=True)
def ready(): print("ready", flush=True)
"""


def ends(code: str, *kinds: signal.Signals, before: str = "") -> tuple[int, list[str]]:
    """The exit status and what is printed of a process that gets these signals, each once it has said `ready`."""
    program = [sys.executable, "-c", before + BEGINNING + code]
    process = subprocess.Popen(program, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for kind in kinds:
        for line in process.stdout:
            lines.append(line.rstrip())
            if lines[-1] == "ready":
                break
        process.send_signal(kind)
    lines += process.stdout.read().splitlines()
    return process.wait(30), [line for line in lines if line != "ready"]


WAITING = """
try:
    with stoppable(heard, tell, seconds={seconds}):
        ready()
        time.sleep(600)
except Stopped as stopped:
    print(stopped, heard.kind.name, flush=True)
    {after}
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda kind: kind.name)
def test_a_signal_raises_in_the_main_thread(kind: signal.Signals) -> None:
    assert ends(WAITING.format(seconds=9, after=""), kind) == (0, [f"stopped by {kind.name} {kind.name}"])


def test_another_handler_for_the_signal_hears_nothing() -> None:
    """Prefect sets one while a flow runs."""
    code = WAITING.replace("ready()", "signal.signal(signal.SIGTERM, lambda *_: print('not here')); ready()")
    assert ends(code.format(seconds=9, after=""), signal.SIGTERM) == (0, ["stopped by SIGTERM SIGTERM"])


def test_the_second_signal_ends_the_process_at_once() -> None:
    code = WAITING.format(seconds=60, after="ready(); time.sleep(600)")
    assert ends(code, signal.SIGTERM, signal.SIGINT) == (130, ["stopped by SIGTERM SIGTERM", "at once SIGINT"])


def test_the_same_signal_within_a_moment_is_the_same_wish() -> None:
    """As `timeout` sends it, to the process and to its group."""
    code = WAITING.format(seconds=60, after="ready(); time.sleep(0.2); print('in order')")
    assert ends(code, signal.SIGTERM, signal.SIGTERM) == (0, ["stopped by SIGTERM SIGTERM", "in order"])


def test_so_does_time_when_it_is_up() -> None:
    code = WAITING.format(seconds=0.2, after="time.sleep(600)")
    assert ends(code, signal.SIGHUP) == (129, ["stopped by SIGHUP SIGHUP", "at once SIGHUP"])


def test_what_nohup_ignores_stays_ignored() -> None:
    code = WAITING.format(seconds=9, after="").replace("time.sleep(600)", "time.sleep(0.3); ready(); time.sleep(600)")
    ignoring = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    status, said = ends(code, signal.SIGHUP, signal.SIGTERM, before=ignoring)
    assert (status, said) == (0, ["stopped by SIGTERM SIGTERM"])


def test_work_goes_on_to_a_good_place_and_then_obeys() -> None:
    code = """
try:
    with stoppable(heard, tell), signals_held() as held:
        ready()
        while not held.heard:
            time.sleep(0.01)
        print("saved", flush=True)
        held.obey()
        print("not here")
except Stopped as stopped:
    print(stopped, flush=True)
"""
    assert ends(code, signal.SIGTERM) == (0, ["saved", "stopped by SIGTERM"])


def test_but_not_for_ever() -> None:
    code = """
try:
    with stoppable(heard, tell), signals_held(seconds=0.2):
        ready()
        time.sleep(600)
except Stopped as stopped:
    print(stopped, flush=True)
"""
    assert ends(code, signal.SIGINT) == (0, ["stopped by SIGINT"])


def test_a_signal_handler_of_prefects_stays_where_it_is() -> None:
    """As for a run that a worker starts: its runner looks for the handler before it says that a run is cancelled."""
    code = """
def cancelled(number, frame): raise SystemExit(7)
signal.signal(signal.SIGTERM, cancelled)
with signals_held():
    print(signal.getsignal(signal.SIGTERM) is cancelled, flush=True)
    ready()
    time.sleep(600)
"""
    assert ends(code, signal.SIGTERM) == (7, ["True"])


def test_a_server_hears_of_it_and_nothing_is_raised() -> None:
    code = """
stop = threading.Event()
with stoppable(heard, tell), signals_heard(stop.set):
    ready()
    stop.wait()
print("stopped in order", flush=True)
"""
    assert ends(code, signal.SIGTERM) == (0, ["stopped in order"])


def test_a_signal_that_came_up_where_python_destroys_something_is_raised_again() -> None:
    code = """
class Slow:
    def __del__(self):
        ready()
        time.sleep(600)
try:
    with stoppable(heard, tell):
        slow = Slow()
        del slow
        time.sleep(600)
except Stopped as stopped:
    print(stopped, flush=True)
"""
    assert ends(code, signal.SIGTERM) == (0, ["stopped by SIGTERM"])
