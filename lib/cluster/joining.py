"""Joins a Ray cluster that is running."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

from lib.errors import ClusterError
from lib.extras import require

LOGGER = logging.getLogger(__name__)
CONNECT_SECONDS = 10.0
SAID_CHARACTERS = 200  # at most, of a warning by Ray
ENVIRONMENT = {  # before Ray is imported
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing phones home
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else a cluster on the loopback address is never found
}


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Joins the cluster, unless this process has done so; leaves it at the end of the block.

    Raises ExtraError without the extra `cluster`, and ClusterError if there is no cluster.
    """
    require("ray", "cluster", "cluster.kind ray")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    with sigterm_kept():
        try:
            _require_open(address)
            ray._private.worker.print_to_stdstream = _warn
            ray.init(address=address or "auto", log_to_driver=False, configure_logging=False)
        except Exception as error:  # of many classes, and with words for developers of Ray
            _not_there(address, error)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """Keeps this process's handler of SIGTERM: the one that Ray sets in the block would end it without a word."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _require_open(address: str | None) -> None:
    """Raises OSError at once if nobody listens there: Ray itself would try for minutes."""
    if address is not None:
        place = urlsplit(address if "://" in address else f"ray://{address}")
        socket.create_connection((place.hostname, place.port), timeout=CONNECT_SECONDS).close()


def _warn(data: Any, ignore_prefix: bool) -> None:  # noqa: ARG001 - as Ray calls it
    """Warns of what Ray would print to standard output, which a program may read: its first line, as the rest is for
    Ray's developers."""
    words = " ".join(data["lines"]).strip().partition("\n")[0]
    LOGGER.warning("the Ray cluster says: %s", words.strip()[:SAID_CHARACTERS])


def _not_there(address: str | None, error: Exception) -> NoReturn:
    where = f"at {address}" if address else "on this machine"
    if "ersion mismatch" in f"{error}":
        raise ClusterError(
            f"the Ray cluster {where} has another version of Ray or Python than this machine: install the versions"
            " of requirements.lock on all machines"
        ) from error
    raise ClusterError(
        f"there is no Ray cluster {where} that this machine can join: start one with `ray start --head`, or let"
        " cluster.address name one, as host:port on one of its machines and as ray://host:port elsewhere"
    ) from error
