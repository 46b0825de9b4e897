"""Starts commands that end with this process, however it ends, and that hold none of its pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from lib.processes import keeper

STOP_SECONDS = keeper.ASK_SECONDS + 5.0


def start_kept(
    command: Sequence[str],
    manner: Literal["server", "family"],
    *,
    environment: Mapping[str, str],
    log: Path,
    survivors: Sequence[subprocess.Popen[bytes]] = (),
) -> subprocess.Popen[bytes]:
    """Starts a command under a keeper (see `lib.processes.keeper`); returns the keeper's process.

    Args:
        manner: how it is ended.
        environment: all of it.
        log: the file that gets what it prints, emptied before.
        survivors: kept processes that are to end after this one.
    """
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-P", keeper.__file__, manner, *command],
            env=environment,
            stdin=subprocess.PIPE,  # which nobody writes to
            stdout=stream,
            stderr=stream,
            # They end when nobody holds the other end of their standard input any more.
            pass_fds=[survivor.stdin.fileno() for survivor in survivors if survivor.stdin is not None],
            start_new_session=True,  # Ctrl-C, and other signals to a group, are for this process
        )


def stop_kept(process: subprocess.Popen[bytes]) -> None:
    """Ends a kept command and all that it has started; returns once nothing of them is left."""
    assert process.stdin is not None, "a kept process has a pipe"
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):  # of its group, which has its number as long as somebody is in it
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
