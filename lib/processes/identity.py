"""Tells a process from all others: on which machine it runs, since which boot, and when after that it began.

None of it changes when the clock is set, unlike the time at which a process began: the kernel counts from the boot. Two
machines or containers that share files must not have the same host name.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")
ENDED = (b"Z", b"X")  # states of a process that has ended and whose parent has not taken note yet
TICKS_A_SECOND = 100


class Process(BaseModel):
    """A process, which may have ended long ago."""

    model_config = ConfigDict(frozen=True)

    host: str
    boot: str  # the kernel's name for it; empty where it has none
    pid: int
    began: int  # ticks from the boot; where the kernel does not tell, from 1970

    @classmethod
    def of(cls, pid: int) -> Process:
        """Returns the process that has this number here and now. Raises ProcessLookupError if none has."""
        began = _began(pid)
        if began is None:
            raise ProcessLookupError(f"there is no process {pid}")
        return cls(host=socket.gethostname(), boot=_boot(), pid=pid, began=began)

    @classmethod
    def named(cls, text: str) -> Process | None:
        """Returns the process that `name` named; None if the text is no such name."""
        with suppress(ValueError):
            host, boot, pid, began = text.split(" ")
            return cls(host=host, boot=boot, pid=int(pid), began=int(began))
        return None

    @property
    def name(self) -> str:
        """What identifies it in one line, the host first."""
        return f"{self.host} {self.boot} {self.pid} {self.began}"

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it can be told here if it lives."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether it is on this machine and has not ended."""
        return self.is_of_this_machine and self.boot == _boot() and _began(self.pid) == self.began

    @property
    def is_gone(self) -> bool:
        """Whether it was on this machine and has ended."""
        return self.is_of_this_machine and not self.lives

    def find(self) -> psutil.Process | None:
        """Returns it to be waited for or ended; None if it is not here."""
        import psutil

        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid)
            if self.lives:
                return found
        return None


def this_process() -> Process:
    """Returns what tells this process from all others."""
    return Process.of(os.getpid())


def lives(name: str) -> bool:
    """Whether the process of this name is on this machine and has not ended."""
    process = Process.named(name)
    return process is not None and process.lives


@cache
def _boot() -> str:
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _began(pid: int) -> int | None:
    """Returns when the process began, in ticks; None if there is none, or it has ended."""
    if sys.platform != "linux":
        return _began_elsewhere(pid)
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the third field and the following ones; the second, a name in brackets, may hold anything.
    state, *fields = status.rpartition(b")")[2].split()
    return None if state in ENDED else int(fields[18])


def _began_elsewhere(pid: int) -> int | None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return round(process.create_time() * TICKS_A_SECOND)
    return None
