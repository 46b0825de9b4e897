"""Goes through a use case's steps in order: `Performer` runs them, `Explainer` says what would run and why.

A step's inputs are the artifacts of the steps that its function's parameters name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, field_serializer

from lib.errors import FinetuneError
from lib.progress import Progress, silent
from lib.store.artifacts import Artifact, key_of
from tasks.engine.log import LOG
from tasks.engine.pageless import asked_if_there
from tasks.engine.step import Run, Step
from tasks.store import artifact_store

if TYPE_CHECKING:
    from prefect import State

StepState = Literal["ran", "cached", "waits", "failed"]  # waits: a server that is away has to be told


class Outcome(BaseModel):
    """The outcome of one step."""

    step: str
    state: StepState
    seconds: float
    artifact: Artifact | None
    reason: str = ""  # why the step failed, in one sentence

    @field_serializer("artifact")
    def _told(self, artifact: Artifact | None) -> dict[str, str] | None:
        """An artifact as `--json` says it: with its folder, where the store is one on this machine."""
        if artifact is None:
            return None
        folder = {} if artifact.place is None else {"folder": str(artifact.place)}
        return {**artifact.model_dump(), **folder}


@dataclass
class Timed:
    """Timed work that is not a step. The block may set `state` and `reason`."""

    state: StepState = "ran"
    reason: str = ""


@dataclass
class Performer:
    """Runs each step as a Prefect task and records the outcomes in order."""

    run: Run
    progress_of: Callable[[str], Progress] = lambda step: silent
    made: dict[str, Artifact] = field(default_factory=dict)  # by step
    outcomes: list[Outcome] = field(default_factory=list)

    def __call__(self, step: Step) -> Artifact:
        """Returns the step's artifact, made now or found in the store; raises what the step raised."""
        started = self._begin(step.name)
        inputs = {name: self.made[name] for name in step.inputs}
        computed: list[str] = []
        run = replace(self.run, progress=self.progress_of(step.name), computed=computed.append)
        # Computed once for Prefect's lock and for the store: an identity may ask a server, whose answers may differ.
        ingredients = step.ingredients(run.recipe, inputs)
        reused = artifact_store().find(step.name, key_of(ingredients)) is not None

        def performed(*, asks: bool) -> State[Artifact]:
            task = step.task(reused=reused or not asks)
            return cast("State[Artifact]", task(run, ingredients, inputs, return_state=True))

        state = asked_if_there(lambda: performed(asks=True), lambda: performed(asks=False))
        try:
            artifact = self.made[step.name] = artifact_store().bound(state.result())
        except FinetuneError as error:
            self._note(step.name, "failed", started, reason=f"{error}")
            raise
        # Not by the task's state: a step whose server was lost at its end is performed again, and finds what it made.
        self._note(step.name, "ran" if computed else "cached", started, artifact)
        return artifact

    @contextmanager
    def timing(self, name: str) -> Iterator[Timed]:
        """Records the block as an outcome, unless it raises."""
        started, timed = self._begin(name), Timed()
        yield timed
        self._note(name, timed.state, started, reason=timed.reason)

    @property
    def computed(self) -> list[str]:
        """The steps that made their artifact, and did not find it."""
        return [outcome.step for outcome in self.outcomes if outcome.artifact and outcome.state == "ran"]

    def would_reuse(self, step: Step) -> bool:
        """Returns whether a step that was not performed yet would find its artifact."""
        inputs = {name: self.made[name] for name in step.inputs}
        key = key_of(step.ingredients(self.run.recipe, inputs))
        return artifact_store().find(step.name, key) is not None

    def _begin(self, step: str) -> float:
        """Tells that a step begins; returns when that was."""
        self.run.listener.on_begin(step)
        return time.monotonic()

    def _note(
        self, step: str, state: StepState, started: float, artifact: Artifact | None = None, reason: str = ""
    ) -> None:
        seconds = round(time.monotonic() - started, 3)
        self.outcomes.append(Outcome(step=step, state=state, seconds=seconds, artifact=artifact, reason=reason))
        self.run.listener.on_end(step, state, seconds)


@dataclass(frozen=True)
class Forecast:
    """What would happen to one step, and why."""

    step: str
    would: Literal["run", "be reused", "depend"]
    reasons: tuple[str, ...]


class Explainer:
    """Says of each step why it would run or be reused, from the store's manifests; runs nothing."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._store = artifact_store(warn=LOG.warning)
        self.found: dict[str, Artifact] = {}  # artifacts to be reused, by step
        self.forecasts: list[Forecast] = []

    def __call__(self, step: Step) -> None:
        """Finds the artifact if the step would be reused: it exists and no input would have to be made first."""
        waiting = [name for name in step.inputs if name not in self.found]
        known = {name: self.found[name] for name in step.inputs if name in self.found}
        ingredients = step.ingredients(self._run.recipe, known)
        if waiting:
            changes = self._changes(step.name, ingredients, unknown=waiting)
            same = f"reused if {' and '.join(waiting)} come{'s' if len(waiting) == 1 else ''} out the same"
            self._say(step, "run" if changes else "depend", changes or (same,))
            return
        key = key_of(ingredients)
        damage: list[str] = []
        artifact = artifact_store(warn=damage.append).find(step.name, key)
        if artifact:
            self.found[step.name] = artifact
            made = self._store.manifest(step.name, key).created
            self._say(step, "be reused", (f"made {made:%Y-%m-%d %H:%M} UTC",))
        else:
            self._say(step, "run", tuple(damage) or self._changes(step.name, ingredients))

    def _say(self, step: Step, would: Literal["run", "be reused", "depend"], reasons: tuple[str, ...]) -> None:
        self.forecasts.append(Forecast(step.name, would, reasons))

    def _changes(self, step: str, ingredients: dict[str, Any], unknown: Sequence[str] = ()) -> tuple[str, ...]:
        """Returns the differences from the step's most similar artifact, the newest of equally similar ones. `unknown`
        inputs do not count as differences, nor does what an identity lacks because it is made of them."""
        ignored = {("inputs", name) for name in unknown}
        now = _flatten(ingredients)
        candidates = []
        for manifest in self._store.manifests(step):
            before = _flatten(manifest.ingredients)
            unmade = {name for name in before.keys() - now.keys() if unknown and name[0] == "identity"}
            counted = (now | before).keys() - ignored - unmade
            changed = [name for name in sorted(counted) if now.get(name) != before.get(name)]
            candidates.append((len(changed), changed, before))
        if not candidates:
            return ("never made before",)
        _, changed, before = min(reversed(candidates), key=lambda candidate: candidate[0])
        return tuple(_in_words(name, before.get(name), now.get(name)) for name in changed)


def _flatten(ingredients: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (group, name): value
        for group, values in ingredients.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }


def _in_words(ingredient: tuple[str, str], before: Any, now: Any) -> str:
    group, name = ingredient
    match group:
        case "fields":
            return f"{name} changed {_shown(before)} -> {_shown(now)}"
        case "code":
            return f"code changed in {name}" if before and now else f"code of {name} {'joined' if now else 'left'}"
        case "inputs":
            return f"{name} has other contents"
        case _:
            return f"{name} is another: {_shown(before)} -> {_shown(now)}"


def _shown(value: Any) -> str:
    """Formats a value as in a recipe, hashes shortened."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
    return f"{text[:12]}…" if len(text) == 64 else text
