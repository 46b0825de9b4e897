import resource
import subprocess
import sys

import pytest

from lib.model.machine.heap import keep_freed_memory

# Allocates, fills and frees twelve blocks of 12 MiB, ten times to warm up; prints the page faults of two times more.
SCRIPT = """
import resource
import torch
from lib.model.machine.heap import keep_freed_memory
assert keep_freed_memory()
for turn in range(12):
    if turn == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(3 * 2**20) for _ in range(12)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults() -> int:
    """Page faults of two times 144 MiB: 73,728 pages of 4 KiB."""
    return int(subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not keep_freed_memory() or resource.getpagesize() != 4096, reason="not glibc with pages of 4 KiB")
def test_freed_memory_is_used_again_without_asking_the_kernel() -> None:
    assert faults() < 1_000
