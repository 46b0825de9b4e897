"""Notes what became of each fault that the tests of this folder try, and keeps it for docs/reliability.md.

A group is a test module; its results at full scale (`make faults`) are `results/<group>.json`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
ASKED = os.environ.get("FINETUNE_FAULTS", "")  # "full", or a share of it such as 0.1, which keeps nothing
FULL = bool(ASKED)
KEPT = ASKED == "full"
PACKAGES = ("mlflow", "prefect", "torch")


def scale(ci: int, full: int) -> int:
    """How often to try: `ci` beside the other tests, `full` under `make faults`."""
    if not FULL:
        return ci
    return full if KEPT else max(1, round(full * float(ASKED)))


@dataclass(frozen=True)
class Outcome:
    """What became of one fault. seconds: until there was a good run, or an answer, again. times: how often it was
    tried, all with the same outcome."""

    fault: str
    survived: bool
    lost: str
    seconds: float | None
    times: int = 1


@dataclass
class Try:
    """A try that goes on. seconds: until there was a good run, or an answer, again."""

    seconds: float | None = None


@dataclass
class Outcomes:
    """What became of all faults of a group. about: what they are, in a line."""

    group: str
    about: str
    noted: list[Outcome] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    def note(self, fault: str, survived: bool, *, lost: str = "", seconds: float | None = None, times: int = 1) -> None:
        """Notes one try, or several. `lost` says what was lost, and how to see it again; the test module fails at its
        end then."""
        self.noted.append(Outcome(fault, survived, "" if survived else lost or "not said", seconds, times))

    def state(self, what: str, figure: str) -> None:
        """States a figure beside the table: a seed, a number of retries, what differs between two settings."""
        self.facts[what] = figure

    @contextmanager
    def trying(self, fault: str) -> Iterator[Try]:
        """Tries a fault in the block: survived unless something is raised there, also where it takes too long. After an
        assertion that fails at full scale the next one is tried; the test module fails at its end."""
        this = Try()
        try:
            yield this
        except (Exception, pytest.fail.Exception) as error:  # the second one is pytest-timeout's, too
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            self.note(fault, False, lost=kind + " ".join(str(error).split())[:500], seconds=this.seconds)
            if not (FULL and isinstance(error, AssertionError)):
                raise
        else:
            self.note(fault, True, seconds=this.seconds)

    @property
    def lost(self) -> list[str]:
        """A sentence for each try that lost something."""
        return [f"{outcome.fault}: {outcome.lost}" for outcome in self.noted if not outcome.survived]

    def json(self) -> dict[str, Any]:
        """All of it as the file has it, in the order of the faults' names."""
        return {
            "group": self.group,
            "about": self.about,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": _commit(),
            "machine": _machine(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "faults": [self._row(fault) for fault in sorted({outcome.fault for outcome in self.noted})],
            "facts": dict(sorted(self.facts.items())),
        }

    def _row(self, fault: str) -> dict[str, Any]:
        tries = [outcome for outcome in self.noted if outcome.fault == fault]
        seconds = [outcome.seconds for outcome in tries if outcome.seconds is not None]
        return {
            "fault": fault,
            "tried": sum(outcome.times for outcome in tries),
            "survived": sum(outcome.times for outcome in tries if outcome.survived),
            "lost": sorted({outcome.lost for outcome in tries if not outcome.survived}),
            "seconds": {"median": round(median(seconds), 2), "worst": round(max(seconds), 2)} if seconds else None,
        }

    def save(self, folder: Path = RESULTS) -> None:
        """Replaces the group's file."""
        folder.mkdir(exist_ok=True)
        file = folder / f"{self.group}.json"
        part = file.with_suffix(".part")
        part.write_text(json.dumps(self.json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(file)


def _commit() -> str:
    """The commit that is tried, and whether files were changed since."""
    git = ["git", "-C", str(PROJECT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
        others = [*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!tests/faults/results"]
        changed = subprocess.run(others, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with changes" if changed else "")


def _machine() -> str:
    from benchmarks.harness import machine

    facts = machine("cpu")
    return f"{facts['cores']} cores, {facts['processor']}"
