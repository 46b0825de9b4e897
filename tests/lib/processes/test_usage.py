"""A process's own peak of memory."""

from __future__ import annotations

import subprocess
import sys

BYTES = 2**26
MEASURED = f"""
from lib.processes.usage import peak_memory
before = peak_memory()
bytearray({BYTES})[::4096] = b"1" * ({BYTES} // 4096)
print(peak_memory() - before)
"""


def test_the_peak_stays_when_memory_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    assert BYTES * 0.9 < int(done.stdout) < BYTES * 1.5
