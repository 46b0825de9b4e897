"""Goes through the trainings of a comparison: what is in the store is found, the rest is computed, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lib.errors import FinetuneError
from lib.progress import Listener
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.variants import Variant
from lib.store.artifacts import Artifact, key_of
from lib.training.distributed.messages import Message, Told, is_for_listeners, known_error
from tasks.compare.crew import STARTS, Crew
from tasks.compare.job import Job, steps_of
from tasks.store import artifact_store

State = Literal["ran", "cached", "failed", "pruned"]


def training_name(variant: Variant, repeat: int) -> str:
    """Returns what a training is called: as its variant, and which repeat it is after the first."""
    return variant.name if not repeat else f"{variant.name}, repeat {repeat + 1}"


@dataclass
class Training:
    """One training of a variant.

    number: its own, from 0. repeat: of the variant's, from 0. made: the artifacts by step, first those that it shares.
    listener: hears what it measures. tracking_run: what manifests note as the run that made its artifacts.
    """

    number: int
    variant: Variant
    repeat: int
    recipe: ClassifyRecipe
    steps: tuple[str, ...]
    made: dict[str, Artifact]
    listener: Listener = field(default_factory=Listener)
    tracking_run: str = ""

    @property
    def name(self) -> str:
        """What it is called: the variant, and which repeat where there are some."""
        return training_name(self.variant, self.repeat)

    @property
    def own(self) -> Mapping[str, Artifact]:
        """The artifacts of its own steps that there are."""
        return {step.name: self.made[step.name] for step in steps_of(self.steps) if step.name in self.made}


@dataclass(frozen=True)
class Ended:
    """What a training came to. computed: the steps that were not found. reason: in one sentence, if it failed or was
    pruned."""

    state: State
    computed: tuple[str, ...] = ()
    reason: str = ""


class Desk(Protocol):
    """Hands out trainings, and takes what they come to."""

    def next(self) -> Training | None:
        """Returns a training that may begin now; None: there is none before another one has ended, or no more."""

    def begins(self, training: Training) -> None:
        """Is told that a training begins which has something to compute; may set its listener."""

    def prunes(self, training: Training, row: Mapping[str, float]) -> bool:
        """Whether a training is to be given up after this evaluation."""

    def ended(self, training: Training, outcome: Ended) -> None:
        """Takes what a training came to."""


def found(training: Training) -> bool:
    """Whether the store has all that a training would compute; then `training.made` has it."""
    store = artifact_store()
    for step in steps_of(training.steps):
        inputs = {name: training.made[name] for name in step.inputs}
        there = store.find(step.name, key_of(step.ingredients(training.recipe, inputs)))
        if there is None:
            return False
        training.made[step.name] = there
    return True


def go_through(
    desk: Desk,
    crew: Crew,
    *,
    at_once: int,
    processors: int | None,
    cards: bool,
    log: Callable[[int, str], None],
) -> None:
    """Has all trainings of a desk done, `at_once` at the same time. One that fails ends no other."""
    running: dict[int, _Running] = {}
    while True:
        while len(running) < at_once and (training := desk.next()) is not None:
            if found(training):
                desk.ended(training, Ended("cached"))
                continue
            desk.begins(training)
            job = Job(
                steps=training.steps,
                recipe=training.recipe.model_dump(mode="json"),
                made={name: artifact.model_dump() for name, artifact in training.made.items()},
                tracking_run=training.tracking_run,
                processors=processors,
                cards=cards,
            )
            running[training.number] = _Running(training, job, Told(training.listener, log))
            crew.start(training.number, job)
        if not running:
            return
        for number, message in crew.hear():
            if number not in running:
                continue  # it was dropped for something that it said before
            outcome = running[number].heard(message, desk, crew)
            if outcome is not None:
                desk.ended(running.pop(number).training, outcome)


@dataclass
class _Running:
    training: Training
    job: Job
    told: Told
    starts: int = 1

    def heard(self, message: Message, desk: Desk, crew: Crew) -> Ended | None:
        """Passes on what a training says; returns what it came to, once it has."""
        if is_for_listeners(message):
            known = self.told.rows
            self.told(message)
            if "row" in message and self.told.rows > known and desk.prunes(self.training, message["row"]):
                crew.drop(self.training.number)
                return Ended("pruned", reason=f"given up after {message['row']['epoch']:.3g} epochs")
            return None
        if "done" in message:
            return self._done(message["done"])
        if "lost" in message:
            return self._again(message["lost"], crew)
        if "error" in message:
            error: FinetuneError = known_error(message)
            return Ended("failed", reason=f"{error}")
        reason = message.get("failed", "it was stopped").strip().splitlines()[-1]
        return Ended("failed", reason=reason)

    def _done(self, done: Mapping[str, Any]) -> Ended:
        store = artifact_store()
        for name, made in done["made"].items():
            self.training.made[name] = store.bound(Artifact.model_validate(made))
        return Ended("ran" if done["computed"] else "cached", tuple(done["computed"]))

    def _again(self, reason: str, crew: Crew) -> Ended | None:
        """Has a training go on from its last checkpoint whose process was killed."""
        if self.starts == STARTS:
            return Ended(
                "failed", reason=f"{reason}, {STARTS} times: most often memory is too small for so many at once"
            )
        self.starts += 1
        self.told.started()
        self.training.listener.warn(f"{self.training.name}: {reason}, and it goes on from its last checkpoint")
        crew.start(self.training.number, self.job)
        return None
