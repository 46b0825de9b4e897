"""Names this machine's processor, on which it depends what is fast."""

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processors() -> int:
    """Counts the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Returns the processor's name and how many this process may use, such as "AMD EPYC 9B14, 2"."""
    return f"{_name()}, {processors()}"


def _name() -> str:
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
