"""Whether a step counts as made or as found, by whatever way it went."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from tasks.engine.runner import Performer
from tasks.engine.step import Run, Step, Work, step
from tests.support.recipes import build_recipe

RECIPE = build_recipe({"data": {"source": "sample"}})


@step("own")
def own(work: Work[ClassifyRecipe]) -> None:
    """Writes a file."""
    (work.folder / "data").write_text("the same")


@pytest.mark.parametrize(("made_by", "state"), [("this run", "ran"), ("another run", "cached")])
def test_a_step_whose_server_was_lost_at_its_end_counts_as_made_by_the_run_that_made_it(
    made_by: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    lost: list[bool] = []

    def task(step: Step, *, reused: bool = False) -> Any:
        def called(run: Run, ingredients: dict[str, Any], inputs: dict[str, Artifact], **options: Any) -> Any:
            if not lost:
                lost.append(True)
                step._run(run if made_by == "this run" else Run(RECIPE), ingredients, inputs)
                raise ConnectionError("the server is gone")
            found = FolderStore(tmp_path / "store").find(step.name, key_of(ingredients))
            return SimpleNamespace(result=lambda: found)

        return called

    monkeypatch.setattr(Step, "task", task)
    perform = Performer(Run(RECIPE))
    perform(own)
    assert [outcome.state for outcome in perform.outcomes] == [state]
    assert lost
