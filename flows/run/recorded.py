"""A flow run with its MLflow run around it, from the first step to what `--json` prints of it.

Here belongs what is the same whatever is trained; which steps there are is each flow's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect import runtime

from flows.run.names import run_tags
from flows.run.result import LISTENER, PROGRESS, Result
from tasks.engine.runner import Performer
from tasks.engine.step import AnyRecipe, Run
from tasks.environment import shareable
from tasks.record.mlflow_run import client, tracked_run
from tasks.record.pages import flatten
from tasks.registry.register import Registered


@dataclass(frozen=True)
class Recorded:
    """A flow run that is being recorded."""

    recipe: str  # its name
    run_id: str  # of the MLflow run
    perform: Performer
    started: float  # time.monotonic

    def result(self, metrics: dict[str, float], registered: Registered) -> dict[str, Any]:
        """What `--json` prints of it, now that it is done."""
        result = Result(
            recipe=self.recipe,
            flow_run=str(runtime.flow_run.id),
            mlflow_run=self.run_id,
            steps=self.perform.outcomes,
            metrics=metrics,
            registered=registered,
            seconds=round(time.monotonic() - self.started, 2),
        )
        return result.model_dump(mode="json")


@contextmanager
def recorded(flow: str, recipe: AnyRecipe, source: str) -> Iterator[Recorded]:
    """The MLflow run of the present flow run, in the experiment `flow`, and what performs its steps.

    `source` is the file of the flow. How the MLflow run ends is said in `tracked_run`.
    """
    started = time.monotonic()
    params = flatten(shareable(recipe.model_dump(mode="json")))
    tags, name = run_tags(recipe.name, source), str(runtime.flow_run.name)
    with tracked_run(client(), experiment=flow, name=name, params=params, tags=tags) as run_id:
        performer = Performer(Run(recipe, run_id, listener=LISTENER.get()), PROGRESS.get())
        yield Recorded(recipe.name, run_id, performer, started)
