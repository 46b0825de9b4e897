"""Keeps freed memory in the process.

glibc returns large blocks to the system when they are freed, and the next operation waits while the kernel clears every
page again. A training step of a frozen GPT-2 124M allocates some 60 MB in such blocks: on two cores it took 63 ms that
way, and 20 ms with the two thresholds below (mallopt(3), malloc.h).
"""

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_KEPT = 32 * 2**20  # bytes; glibc takes no more: larger blocks always come from the system
FREE_KEPT = 2**30  # bytes of free memory at the heap's end before any of it is given back


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to `FREE_KEPT` of freed memory; False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, FREE_KEPT))
