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
    if Path("/proc/self/status").exists():
        return status_bytes("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def status_bytes(field: str, process: int | str = "self") -> int:
    """Returns a field of what Linux says of a process in kilobytes, in bytes; 0 once the process has ended. `VmHWM` is
    the most memory it has had in use, `RssAnon` what it has now besides the pages of files."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def _tell() -> None:
    heavy = [package for package in HEAVY if package in sys.modules]
    print(json.dumps({"peak_bytes": peak_bytes(), "heavy": heavy}), file=sys.stderr)  # noqa: T201 - its output


if __name__ == "__main__":
    atexit.register(_tell)
    module, *sys.argv[1:] = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
