"""Peak memory, measured by the process whose memory it is: `python -m benchmarks.memory MODULE [argument ...]`.

The command runs a module as `python -m` would, and its last line on standard error is JSON: the peak, and which heavy
packages were imported. This module imports nothing heavy itself.
"""

import atexit
import json
import resource
import runpy
import sys
from pathlib import Path

HEAVY = ("torch", "sklearn", "matplotlib", "accelerate", "transformers")


def peak_bytes() -> int:
    """The most memory that this process has had in use.

    Linux's `ru_maxrss` would not do: it begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _tell() -> None:
    heavy = [package for package in HEAVY if package in sys.modules]
    print(json.dumps({"peak_bytes": peak_bytes(), "heavy": heavy}), file=sys.stderr)  # noqa: T201 - its output


if __name__ == "__main__":
    atexit.register(_tell)
    module, *sys.argv[1:] = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
