"""Keeps the memory of freed CPU tensors in the process.

glibc returns large freed blocks to the system, and the next operation of the same size waits for the kernel to clear
each page. A training step of a frozen GPT-2 124M allocates some 60 MB in such blocks: 63 ms on two cores, and 20 ms
with the two thresholds below (mallopt(3), malloc.h).
"""

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_KEPT = 32 * 2**20  # bytes, glibc's maximum: larger blocks always come from the system
FREE_KEPT = 2**30  # bytes of free memory at the heap's end before any is returned


@cache
def keep_freed_memory() -> bool:
    """Lets this process keep up to `FREE_KEPT` of freed memory; returns False if the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, FREE_KEPT))
