"""Describes a finished run, and lets a run find who watches it: progress bars, a listener."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from pydantic import BaseModel

from lib.progress import NOBODY, Listener, silent
from lib.progress import Progress as ProgressCallback
from lib.store.artifacts import Artifact
from tasks.engine.runner import Outcome
from tasks.registry.register import Registered
from tasks.store import artifact_store

# How a flow finds the terminal's progress bars; a run without a terminal has none.
PROGRESS: ContextVar[Callable[[str], ProgressCallback]] = ContextVar("PROGRESS", default=lambda step: silent)
# How it finds who prints what a training measures, where somebody does.
LISTENER: ContextVar[Listener] = ContextVar("LISTENER", default=NOBODY)


class Result(BaseModel):
    """What a finished run of a flow says of itself; `--json` prints it."""

    recipe: str
    flow_run: str
    mlflow_run: str  # empty: MLflow has none yet
    steps: list[Outcome]
    metrics: dict[str, float]
    registered: Registered | None  # None: nothing was published yet
    verdict: list[str] = []  # what the run comes to, in sentences
    report: Path | None = None  # a page about the run, in HTML
    waits: str = ""  # a sentence, if MLflow does not have all of this yet
    warnings: list[str] = []  # of all steps, reused ones too, in their order
    seconds: float

    def artifacts(self) -> dict[str, Artifact]:
        """Those of the steps that made or found one, by step."""
        store = artifact_store()
        return {each.step: store.bound(each.artifact) for each in self.steps if each.artifact is not None}


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Lets `listener` hear what a training measures, while the block runs."""
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)
