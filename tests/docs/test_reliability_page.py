"""docs/reliability.md has what the tests of faults have kept."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

from docs.reliability import outcomes_table
from tests.faults import outcomes as harness
from tests.faults.outcomes import Outcomes

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_has_what_was_kept() -> None:
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(DOCS / "generate.py"))["written"]("reliability.md", page) == page, (
        "run `python -m docs.generate`"
    )


def test_every_try_is_counted_and_what_was_lost_is_said(tmp_path: Path) -> None:
    tried = Outcomes("kill", "Signals at any moment.")
    tried.note("b: SIGKILL | group", True, seconds=1.0)
    tried.note("b: SIGKILL | group", True, seconds=2.5)
    tried.note("b: SIGKILL | group", False, lost="a lock is held (seed 7)", seconds=9.0)
    tried.note("a: SIGTERM", True)
    tried.state("seed", "20261126")
    tried.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["kill.json"]
    table = outcomes_table(tmp_path)
    assert table.splitlines()[2:5] == [
        "| kill | a: SIGTERM | 1 | 1 | 0 |  |  |",
        r"| kill | b: SIGKILL \| group | 3 | 2 | 1 | 2.5 | 9 |",
        "| **all** | | **4** | **3** | **1** | | |",
    ]
    assert "**kill**: Signals at any moment. Tried 20" in table
    assert table.endswith("\n\n- lost: b: SIGKILL | group: a lock is held (seed 7)\n- seed: 20261126")


def test_a_failing_assertion_is_a_loss_and_ends_the_test_but_at_full_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Outcomes("damage", "")

    def lose() -> None:
        with tried.trying("truncated"):
            raise AssertionError("it was\nused")

    with pytest.raises(AssertionError, match="used"):
        lose()
    monkeypatch.setattr(harness, "FULL", True)
    lose()
    with tried.trying("truncated"):
        pass
    assert tried.lost == ["truncated: it was used"] * 2
    assert [outcome.survived for outcome in tried.noted] == [False, False, True]


@pytest.mark.parametrize("full", [False, True])
def test_a_try_that_takes_too_long_is_a_loss_and_ends_the_test(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "FULL", full)
    tried = Outcomes("postgres", "")

    def hang(error: BaseException) -> None:
        with tried.trying("killed") as this:
            this.seconds = 400.0
            raise error

    late = (subprocess.TimeoutExpired("a run", 400), pytest.fail.Exception("Timeout (>300.0s) from pytest-timeout."))
    for error in late:
        with pytest.raises(type(error)):
            hang(error)
    assert [outcome.seconds for outcome in tried.noted] == [400.0, 400.0]
    assert tried.lost == [
        "killed: TimeoutExpired: Command 'a run' timed out after 400 seconds",
        "killed: Failed: Timeout (>300.0s) from pytest-timeout.",
    ]
