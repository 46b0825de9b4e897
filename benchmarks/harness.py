"""Measuring: clocks, the machine, and the row that a comparison becomes.

This module holds what every row needs; see `workload.py` for the data that rows measure with, `report.py` for how rows
are shown and stored.
"""

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

TOLERANCE = 1e-4  # largest difference between two sides' logits or probabilities that counts as the same computation


class DifferentResultsError(Exception):
    """The two sides of a row do not compute the same thing, so their times must not be compared."""


@dataclass(frozen=True)
class Measured:
    """One side of a row: `amount` in `unit` ("s", "messages/s", "MB", ...), and how it came about."""

    what: str
    amount: float
    unit: str
    how: str = ""  # its setting; what was sub-sampled


@dataclass(frozen=True)
class Target:
    """What the row ought to show, in words, and whether it does."""

    text: str
    reached: bool


@dataclass(frozen=True)
class Row:
    """A comparison of two sides that were measured in one run, on one machine.

    group: the name that chooses the row on the command line.
    ratio: how many times faster ours is (of seconds other/ours, of rates ours/other); ours/other where less is better.
    same: what was compared to know that both sides compute the same, and the largest difference.
    details: more figures, for the JSON.
    """

    group: str
    what: str
    ours: Measured
    other: Measured
    ratio: float
    target: Target | None = None
    same: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    better: Literal["higher", "lower"] = "higher"

    def json(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return asdict(self)


def ratio_row(
    group: str,
    what: str,
    ours: Measured,
    other: Measured,
    *,
    at_least: float | None = None,
    same: str = "",
    details: dict[str, Any] | None = None,
) -> Row:
    """A row whose ratio says how many times faster ours is; both sides are in one unit, of time or of a rate."""
    if ours.unit != other.unit:
        raise ValueError(f"{what}: {ours.unit} cannot be compared with {other.unit}")
    ratio = ours.amount / other.amount if "/s" in ours.unit else other.amount / ours.amount
    target = None if at_least is None else Target(f"at least {at_least:g}x", ratio >= at_least)
    return Row(group, what, ours, other, ratio, target, same, details or {})


def limit_row(
    group: str,
    what: str,
    ours: Measured,
    allowed: float,
    *,
    judged: bool,
    same: str = "",
    details: dict[str, Any] | None = None,
) -> Row:
    """A row about what ours may take at most, in its unit. judged: whether the limit is for this run."""
    ratio = ours.amount / allowed
    target = Target("at most 1x", ratio <= 1) if judged else None
    other = Measured("what it may be", allowed, ours.unit)
    return Row(group, what, ours, other, ratio, target, same, details or {}, better="lower")


def synchronise() -> None:
    """Wait for what a GPU was told to do: its calls return before that is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, without garbage of earlier work and with all that it left to a GPU."""
    gc.collect()
    synchronise()
    started = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - started


def median_seconds(works: Sequence[Callable[[], object]], *, repeats: int) -> list[float]:
    """The median seconds of each of `works`.

    Each runs once to warm up. Then they take turns, so that whatever else slows the machine slows all of them.
    """
    for work in works:
        work()
    rounds = [[seconds(work) for work in works] for _ in range(repeats)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def require_same(what: str, ours: torch.Tensor, other: torch.Tensor, *, tolerance: float = TOLERANCE) -> str:
    """A sentence with the largest difference; raises `DifferentResultsError` if it is over `tolerance`."""
    difference = (ours.double().cpu() - other.double().cpu()).abs().max().item()
    if not difference <= tolerance:
        raise DifferentResultsError(f"{what} differ by {difference:.2g}, and {tolerance:g} is the most allowed")
    return f"{what} differ by at most {difference:.1g}"


def machine(device: str) -> dict[str, Any]:
    """The facts that figures depend on; a GPU's where `device`, torch's name, is one."""
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }
    if torch.device(device).type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
        facts["gpu_memory_gb"] = round(torch.cuda.get_device_properties(0).total_memory / 1e9)
    return facts


def machine_kind(facts: dict[str, Any]) -> str:
    """The name of the file with results of such machines: cpu-2-cores, gpu-nvidia-h200."""
    if "gpu" in facts:
        return "gpu-" + "-".join(facts["gpu"].lower().split())
    return f"cpu-{facts['cores']}-cores"


def _processor() -> str:
    """The processor's name, and which of the instructions that matrix products profit from it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}  # of the first core
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    known = set(facts.get("flags", "").split())
    useful = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in known]
    return " ".join([facts.get("model name", platform.machine()), *useful])
