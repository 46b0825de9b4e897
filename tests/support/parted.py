"""What workers of a cluster are asked to do in tests; without the imports of the tests themselves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.errors import SourceError


def whoami(item: tuple[int, float]) -> tuple[int, int]:
    """Returns the item's number and this process's, after as many seconds as it says."""
    time.sleep(item[1])
    return item[0], os.getpid()


def refused(number: int) -> int:
    """Refuses the number 3."""
    if number == 3:
        raise SourceError(f"file {number} is not there: look for it", temporary=True)
    return number


def struck(item: tuple[int, Path]) -> int:
    """Dies with its process once, at item 2."""
    number, folder = item
    if number == 2 and not any(folder.glob("struck")):
        (folder / "struck").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def endless(folder: Path) -> None:
    """Leaves this process's number in a folder, and goes on for longer than a test."""
    (folder / f"{os.getpid()}").touch()
    time.sleep(600)


def stuck(item: tuple[Callable[[Any], Any], Any, str, Path]) -> Any:
    """Calls a function with an item. Once, on the node of Ray that is named, it then leaves a marker and no answer, so
    that the node can be killed when work is done and nobody knows it; work on other nodes waits for that."""
    import ray

    function, given, node, marker = item
    here = node == ray.get_runtime_context().get_node_id()
    for _ in range(0 if here else 6000):
        if marker.exists():
            break
        time.sleep(0.01)
    result = function(given)
    if here and not marker.exists():
        marker.touch()
        time.sleep(600)
    return result
