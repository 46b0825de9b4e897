"""Names this machine's processor, on which it depends what is fast."""

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Below this width two threads are no faster than one, and much slower on a busy machine. Measured on two cores with the
# tiny model: torch takes 7 s either way when idle; beside a busy browser 7 s with one thread and 51 s with two. ONNX
# Runtime needs half the processor time with one.
WORTH_SHARING = 256


def processors() -> int:
    """Counts the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sensible_processors(width: int) -> int:
    """Returns how many processors a network of this width is worth."""
    return processors() if width >= WORTH_SHARING else 1


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
