"""Keeps a command: `python -P keeper.py server|family COMMAND ...` runs it until it ends, or whoever started this does.

They hold the other end of this process's standard input, which the kernel closes however they end, SIGKILL included.
Then the command is ended, and whatever it has started; so is what is left of them when the command ends by itself.

- `server`: SIGTERM and SIGHUP, which systemd and a closing terminal send to all processes at once, do not reach the
  command: it has to outlive those who ask it something. It is asked to end by SIGINT.
- `family`: what the command has started is asked to end, by SIGTERM, while the command itself is suspended, so that it
  neither starts anything more nor kills; then the command is killed.

This file imports nothing of the project, and what it needs at the end only then: it waits beside every run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

SERVER, FAMILY = "server", "family"
FAMILY_SIGNAL = signal.SIGTERM
ASK_SECONDS = 15.0  # from asking to killing
LOOK_SECONDS = 0.05  # between two looks at processes that are ending
ALL_AT_ONCE = {signal.SIGTERM, signal.SIGHUP}
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def main(manner: str, *command: str) -> int:
    """Runs the command to its end, whichever that is; returns its exit status as a shell gives it."""
    for kind in (signal.SIGINT, *ALL_AT_ONCE):
        signal.signal(kind, lambda number, frame: None)  # a handler, because the command would inherit SIG_IGN
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the command's children leave behind belongs to this process
    blocked = ALL_AT_ONCE if manner == SERVER else set()
    # This process has one thread as yet, so `preexec_fn` is safe, and the thread that the kernel watches stays.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: _prepare(blocked))
    left_alone = threading.Event()
    threading.Thread(target=_end_when_left_alone, args=(manner, child, left_alone), daemon=True).start()
    status = child.wait()
    if manner == FAMILY and not left_alone.is_set():  # otherwise they have been asked, and have had their time
        end(_descendants(), FAMILY_SIGNAL)
    end(_descendants())
    return 128 - status if status < 0 else status


def _prepare(blocked: set[signal.Signals]) -> None:
    """In the child, before it becomes the command: it dies when this process is killed."""
    parent = os.getppid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # which was killed before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _prctl(option: int, value: int) -> None:
    """Tells Linux something about this process; other systems have nothing like it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_when_left_alone(manner: str, child: subprocess.Popen[bytes], left_alone: threading.Event) -> None:
    """Waits until nobody holds the other end of standard input, and ends the command."""
    while os.read(0, 1):
        pass
    left_alone.set()
    if manner == SERVER:
        end(_descendants(), signal.SIGINT)
    else:
        child.send_signal(signal.SIGSTOP)
        end([process for process in _descendants() if process.pid != child.pid], FAMILY_SIGNAL)
    child.kill()


def _descendants() -> list[psutil.Process]:
    import psutil

    return psutil.Process().children(recursive=True)


def end(processes: list[psutil.Process], kind: signal.Signals = signal.SIGKILL) -> None:
    """Asks the processes to end, or sees to it; returns once they have, or are late."""
    import psutil

    for process in processes:
        try:
            process.send_signal(kind)
        except psutil.NoSuchProcess:
            continue
    late = time.monotonic() + ASK_SECONDS
    while time.monotonic() < late and not all(is_over(process) for process in processes):
        time.sleep(LOOK_SECONDS)


def is_over(process: psutil.Process) -> bool:
    """Whether it has ended, also if its parent, which may be suspended, has not taken note yet."""
    import psutil

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
