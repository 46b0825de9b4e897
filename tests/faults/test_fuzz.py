"""Bytes from a coverage-guided fuzzer: archives, rows, JSON, Parquet, weights, recipes, requests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.faults.fuzz.allowed import Finding, attempt
from tests.faults.fuzz.fuzzing import committed, fuzz
from tests.faults.fuzz.seeds import SEEDS
from tests.faults.fuzz.targets import TARGETS
from tests.faults.outcomes import Outcomes, scale

pytestmark = pytest.mark.faults

SECONDS = scale(4, 1200)  # of each target


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_stays_mended(target: str) -> None:
    """The seeds and the committed corpus, in which everything is that was once a finding."""
    for data in (*SEEDS[target](), *(file.read_bytes() for file in committed(target))):
        attempt(TARGETS[target], data)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.timeout(SECONDS + 1200)
def test_nothing_is_found(target: str, tmp_path: Path, outcomes: Outcomes) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it has no wheel for this Python or system")
    done = fuzz(target, SECONDS, findings=tmp_path / "findings")
    outcomes.note(f"fuzzing: {target}", not done.findings, lost="; ".join(done.findings), times=done.executions)
    outcomes.state(
        f"fuzzing: {target}",
        f"{done.executions:,} inputs in {done.seconds:,.0f} s reached {done.edges:,} edges of the code",
    )


def test_findings_are_told_apart() -> None:
    def work(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(Finding, match="KeyError in the target"):
        attempt(work, b"a")
