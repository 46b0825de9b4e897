"""How many files this process may have open."""

from __future__ import annotations

import resource

from lib.errors import StoreError


def may_open(wanted: int) -> int:
    """Raises this process's own limit of open files to `wanted`, as far as the system lets it; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return max(soft, most)


def require_open_files(least: int, what: str) -> None:
    """Raises StoreError unless so many files may be open at once, which `what` needs. Libraries that run out of them in
    a thread of theirs would wait for ever."""
    if (limit := may_open(least)) < least:
        raise StoreError(
            f"too many files are open for this process's limit of {limit}, and {what} needs {least}: raise it"
            " (`ulimit -n 1024`) and run again"
        )
