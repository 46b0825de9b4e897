"""The two ways to go through a flow's steps: doing them, and explaining what doing them would mean.

A flow's list of steps is a function that calls `do(step, ...)` for each; `Performer` and `Explainer` are what it can be
called with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from prefect import State
from pydantic import BaseModel

from lib.progress import Progress, silent
from lib.store.artifacts import Artifact, Store, key_of
from tasks.engine.prefect_cache import LOG
from tasks.engine.step import Run, Step
from tasks.environment import store_folder

StepState = Literal["ran", "cached", "failed"]


class Outcome(BaseModel):
    """What became of one step."""

    step: str
    state: StepState
    seconds: float
    artifact: Artifact | None
    reason: str = ""  # why it failed, in one sentence


class Performer:
    """Runs each step as a Prefect task and keeps what became of it, in order."""

    def __init__(self, run: Run, progress_of: Callable[[str], Progress] = lambda step: silent) -> None:
        self._run = run
        self._progress_of = progress_of
        self.outcomes: list[Outcome] = []

    def __call__(self, step: Step, **inputs: Artifact) -> Artifact:
        """The step's artifact, made now or found in the store; raises what the step raised."""
        started = time.monotonic()
        run = replace(self._run, progress=self._progress_of(step.name))
        # Once, for the key that Prefect locks and the one that is written: an identity may ask a server, whose answers
        # may differ.
        ingredients = step.ingredients(run.recipe, inputs)
        reused = Store(store_folder()).find(step.name, key_of(ingredients)) is not None
        state = cast(State[Artifact], step.task(reused=reused)(run, ingredients, inputs, return_state=True))
        artifact = state.result()
        self.note(step.name, "cached" if state.name == "Cached" else "ran", started, artifact)
        return artifact

    def note(
        self, step: str, state: StepState, started: float, artifact: Artifact | None = None, reason: str = ""
    ) -> None:
        """Keeps the outcome of a step that began at `started` (time.monotonic); of one that failed, the reason."""
        seconds = round(time.monotonic() - started, 3)
        self.outcomes.append(Outcome(step=step, state=state, seconds=seconds, artifact=artifact, reason=reason))

    def state_of(self, step: str) -> str:
        """`ran`, `cached` or `failed`."""
        return next(outcome.state for outcome in self.outcomes if outcome.step == step)


@dataclass(frozen=True)
class Verdict:
    """What would become of one step, and why."""

    step: str
    would: Literal["run", "be reused", "depend"]
    reasons: tuple[str, ...]


class Explainer:
    """Says of each step why it would run or be reused, from the store's manifests; runs nothing."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._store = Store(store_folder(), warn=LOG.warning)
        self.verdicts: list[Verdict] = []

    def __call__(self, step: Step, **inputs: Artifact | None) -> Artifact | None:
        """The step's artifact if it would be reused; None if it would run, or depends on one that would."""
        waiting = [name for name, artifact in inputs.items() if artifact is None]
        known = {name: artifact for name, artifact in inputs.items() if artifact is not None}
        ingredients = step.ingredients(self._run.recipe, known)
        if waiting:
            changes = self._changes(step.name, ingredients, unknown=waiting)
            same = f"reused if {' and '.join(waiting)} come{'s' if len(waiting) == 1 else ''} out the same"
            self._say(step, "run" if changes else "depend", changes or (same,))
            return None
        key = key_of(ingredients)
        damage: list[str] = []
        artifact = Store(self._store.root, warn=damage.append).find(step.name, key)
        if artifact:
            made = self._store.manifest(step.name, key).created
            self._say(step, "be reused", (f"made {made:%Y-%m-%d %H:%M} UTC",))
        else:
            self._say(step, "run", tuple(damage) or self._changes(step.name, ingredients))
        return artifact

    def _say(self, step: Step, would: Literal["run", "be reused", "depend"], reasons: tuple[str, ...]) -> None:
        self.verdicts.append(Verdict(step.name, would, reasons))

    def _changes(self, step: str, ingredients: dict[str, Any], unknown: Sequence[str] = ()) -> tuple[str, ...]:
        """What differs from the most similar artifact of the step; the newest of equally similar ones.

        `unknown` inputs do not count as a difference, since nobody can say yet; neither does an identity that is empty
        for now, because it is made of them.
        """
        ignored = {("inputs", name) for name in unknown}
        skip_identity = bool(unknown) and not ingredients.get("identity")
        now = _flatten(ingredients)
        candidates = []
        for manifest in self._store.manifests(step):
            before = _flatten(manifest.ingredients)
            counted = {name for name in now | before if not (skip_identity and name[0] == "identity")} - ignored
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
    """A value as a recipe would write it, hashes shortened."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
    return f"{text[:12]}…" if len(text) == 64 else text
