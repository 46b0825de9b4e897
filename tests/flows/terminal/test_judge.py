"""`finetune instruct judge` goes on without Prefect's server, and says of its own errors what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.run.prefect_api import run_beside_prefect
from flows.terminal import judge
from lib.recipes.instruct import InstructRecipe

RECIPE = InstructRecipe.model_validate({"data": {"source": "sample"}})
DONE = {"mlflow_run": "1", "steps": [], "metrics": {"judge/mean": 70.0}}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[..., Any]], tuple[Any, list[str]]]:
    """Calls the flow as its command does, by an engine that loses Prefect's server at the end; `score` is its work.
    Returns the result, and what was warned of."""
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    monkeypatch.setattr("prefect.runtime.flow_run.id", "00000000-0000-0000-0000-000000000001", raising=False)

    def call(score: Callable[..., Any]) -> tuple[Any, list[str]]:
        monkeypatch.setattr(judge, "score_answers", score)
        warned: list[str] = []

        def run_by_engine() -> Any:
            judge.judge_answers.fn(RECIPE, "1", {})
            raise httpx.ConnectError("the server has gone")

        return run_beside_prefect(run_by_engine, warned.append), warned

    return call


def test_a_server_that_is_lost_takes_no_scores_along(called: Any) -> None:
    result, (warning,) = called(lambda *arguments: DONE)
    assert result == DONE
    assert warning.startswith("Prefect's page of this run is incomplete")


def test_an_error_of_the_work_is_not_taken_for_the_servers(called: Any) -> None:
    def fails(*arguments: Any) -> Any:
        raise ValueError("merge keys are not unique")

    with pytest.raises(ValueError, match="merge keys are not unique"):
        called(fails)
