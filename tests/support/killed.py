"""Runs a command that is sent a signal at a chosen moment: `python -m tests.support.killed MOMENT MODULE ARGUMENT ...`.

The program has no hooks for this. The function at which it shall happen is replaced before the program is imported; so
this process, and what it starts, is the program in all but that call. Without a moment ("") it only runs.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

STRUCK = "struck at "  # on standard error, followed by the system's monotonic clock in seconds


@dataclass(frozen=True)
class Moment:
    """When a signal is sent, which, and to whom.

    at: `module:function` or `module:Class.method`; "": the start of the process.
    call: at the first call of it, the second, ...
    when: before it does anything, after it has returned, or `seconds` after it began, whatever happens then.
    group: to the whole process group, as a terminal does, rather than to the process alone.
    """

    at: str = ""
    call: int = 1
    when: Literal["before", "after", "during"] = "during"
    seconds: float = 0.0
    signal: str = "SIGKILL"
    group: bool = False

    def json(self) -> str:
        """The first argument of the command."""
        return json.dumps(asdict(self))


def struck(said: str) -> float | None:
    """When the signal was sent, by what a command said on standard error; None if the moment never came."""
    times = [line.removeprefix(STRUCK) for line in said.splitlines() if line.startswith(STRUCK)]
    return float(times[0]) if times else None


def arm(moment: Moment) -> None:
    """Has the signal sent at the moment."""
    if not moment.at:
        _later(moment)
        return
    module, _, path = moment.at.partition(":")
    *holders, name = path.split(".")
    owner: Any = functools.reduce(getattr, holders, importlib.import_module(module))
    setattr(owner, name, _wrapped(getattr(owner, name), moment))


def _wrapped(function: Callable[..., Any], moment: Moment) -> Callable[..., Any]:
    calls = iter(range(1, sys.maxsize))

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        chosen = next(calls) == moment.call
        if chosen and moment.when == "before":
            _strike(moment)
        if chosen and moment.when == "during":
            _later(moment)
        result = function(*arguments, **named)
        if chosen and moment.when == "after":
            _strike(moment)
        return result

    return call


def _later(moment: Moment) -> None:
    def wait() -> None:
        time.sleep(moment.seconds)
        _strike(moment)

    threading.Thread(target=wait, daemon=True).start()


def _strike(moment: Moment) -> None:
    os.write(2, f"{STRUCK}{time.monotonic():.3f}\n".encode())  # past all buffers: there may be no later
    kind = signal.Signals[moment.signal]
    if moment.group:
        os.killpg(os.getpgrp(), kind)
    else:
        os.kill(os.getpid(), kind)


def main(moment: str, *command: str) -> None:
    """Becomes the command, in a session and group of its own, with temporary folders where the environment says."""
    with suppress(PermissionError):  # it has one already
        os.setsid()
    tempfile.tempdir = None
    import tasks  # noqa: F401 - before anything that imports Prefect or MLflow

    if moment:
        arm(Moment(**json.loads(moment)))
    sys.argv = [*command]
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
