"""A Ray cluster of two machines, which are two nodes on this one; the second can be killed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lib.cluster import laptop
from lib.cluster.joining import ENVIRONMENT
from lib.extras import installed

PROJECT = Path(__file__).resolve().parents[2]


@dataclass
class RayNodes:
    """A cluster of two nodes with so many processors each. home: what they, as other machines would, call
    $FINETUNE_HOME."""

    cluster: Any
    home: Path
    processors: int
    second: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.start_second()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def start_second(self) -> None:
        """Starts the second node unless it runs. Its processes end with the thread that does this."""
        if self.second is None:
            self.second = laptop.add_node(self.cluster, self.processors)

    def kill_second(self, *, again: bool = True) -> None:
        """Ends the second node as a machine ends that loses its power, and may start another one."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None
        if again:
            self.start_second()


@contextmanager
def ray_nodes(home: Path, *, processors: int = 2) -> Iterator[RayNodes]:
    """Starts the two nodes, over a home of their own; skips where there is no Ray."""
    if not installed(["ray"]):
        pytest.skip("needs Ray, of the extra cluster")
    settings = {
        **ENVIRONMENT,
        "RAY_worker_niceness": "0",  # of tests beside others
        "RAY_health_check_period_ms": "1000",  # a node that is gone is missed sooner than after half a minute
        "RAY_health_check_failure_threshold": "3",
        "FINETUNE_HOME": str(home),
        "PYTHONPATH": str(PROJECT),
    }
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        settings["RAY_TMPDIR"] = folder  # short, because names of sockets are
        for name, value in settings.items():
            patch.setenv(name, value)
        with laptop.started(processors) as cluster:
            yield RayNodes(cluster, home, processors)
