"""What a process has taken of its machine."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
PEAK = "VmHWM:"  # Linux: the most that this process itself had in memory, in KiB; `ru_maxrss` keeps a parent's
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes that `ru_maxrss` counts in


def peak_memory() -> int:
    """Returns the most bytes that this process has had in memory so far."""
    if STATUS.exists():
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(PEAK):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
