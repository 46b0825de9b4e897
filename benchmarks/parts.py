"""Row "parts": what it costs to have a part computed by another process, of a pool and of a Ray cluster."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Measured, Row
from benchmarks.workload import Bench
from lib.cluster import laptop
from lib.cluster.cluster import Cluster
from lib.cluster.opening import Choice, open_cluster
from lib.extras import installed

GROUP = "parts"
WORKERS = 2
PARTS = {True: 200, False: 1000}  # by whether the run is quick
UNIT = "ms a part"


def nothing(number: int) -> int:
    """A part that takes no time."""
    return number


def rows(bench: Bench) -> Iterator[Row]:
    """Measures the pool, and Ray where it is installed, each against a function that is called here."""
    count = PARTS[bench.amounts.repeats == 1]
    with tempfile.TemporaryDirectory() as folder:
        here = _milliseconds(lambda: list(map(nothing, range(count))), count)
        bench.say("parts on a pool")
        with open_cluster(Choice("local", None, WORKERS), scratch=Path(folder)) as pool:
            yield _row("a pool of processes", pool, count, here)
        if not installed(["ray"]):
            return
        bench.say("parts on Ray")
        with laptop.started(WORKERS // 2) as nodes:  # no more workers than are there after the first parts
            laptop.add_node(nodes, WORKERS // 2)
            with open_cluster(Choice("ray", nodes.address, WORKERS), scratch=Path(folder)) as ray:
                yield _row("a Ray cluster of two nodes on this machine", ray, count, here)


def _row(what: str, cluster: Cluster, count: int, here: float) -> Row:
    began = time.monotonic()
    list(cluster.run(nothing, range(WORKERS)))
    first = time.monotonic() - began  # with the start of the processes
    ours = _milliseconds(lambda: list(cluster.run(nothing, range(count))), count)
    how = f"{count:,} parts that do nothing, {WORKERS} workers"
    return Row(
        GROUP,
        f"a part on {what}",
        Measured(what, ours, UNIT, how),
        Measured("a call in this process", here, UNIT, f"{count:,} calls"),
        ratio=here / ours,
        details={"seconds_until_the_first": first},
        better="lower",
    )


def _milliseconds(work: Callable[[], Any], count: int) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000 / count
