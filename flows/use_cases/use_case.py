"""All that tells one use case from the other, as one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lib.store.artifacts import Artifact
from tasks.engine.runner import Performer
from tasks.engine.step import AnyRecipe, Step
from tasks.record.recording import Recording
from tasks.record.track import Pages
from tasks.registry.promote import Decided
from tasks.registry.register import Candidate
from tasks.report.conclusion import Conclusion, Finished

Artifacts = Mapping[str, Artifact]  # by the name of the step that made each
Fact = tuple[str, str]  # what a run's table says of it: a name, and a value in words


@dataclass(frozen=True)
class UseCase:
    """A list of steps, and what becomes of their artifacts. `Any` stands for the use case's own recipe."""

    name: str  # the command, and the folder of recipes
    flow: str  # Prefect's name of the flow, and MLflow's of the experiment
    description: str
    recipe: type[AnyRecipe]
    steps: tuple[Step, ...]  # in order
    trains: Step  # its training is shown, also when it is reused
    final: tuple[Step, ...]  # what runs are made for: an artifact that none of these was made from is unreferenced
    pages: Callable[[Any, Artifacts], Pages]  # what MLflow and Prefect show of a run, its final metrics among it
    candidate: Callable[[Any, Artifacts], Candidate]  # for the registry
    conclude: Callable[[Finished, Pages], Conclusion]  # what the run comes to, once its model is registered
    facts: Callable[[Artifacts, Mapping[str, float], Any], Iterator[Fact]]  # from artifacts, final metrics and recipe
    decide: Callable[..., Decided | None] = lambda *_: None  # what becomes of a version; None: not compared
    last: tuple[Step, ...] = ()  # when the model is registered: a failure of theirs cannot harm it any more
    afterwards: Callable[[Performer], dict[str, str]] = lambda _: {}  # performs those; returns more tags of the run
    last_metrics: Callable[[Artifacts], dict[str, float]] = lambda _: {}  # what those measured, if they did
    track_last: Callable[[Recording, Artifacts], None] = lambda *_: None  # logs what those made

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """Every step, in order."""
        return (*self.steps, *self.last)
