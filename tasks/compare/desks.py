"""Which training comes next: those of a list, or what a search suggests after what it has seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib.errors import FinetuneError
from lib.evaluation.classify.validated import validated_metrics
from lib.progress import NOBODY, Listener
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.compare import CompareRecipe
from lib.recipes.variants import Variant, called, repeated, varied
from lib.store.artifacts import Artifact
from tasks.compare.children import Children
from tasks.compare.job import TRAINS, TRAINS_ON_FOLDS
from tasks.compare.recording import measured_by
from tasks.compare.trainings import Ended, Training
from tasks.engine.log import run_log

if TYPE_CHECKING:
    from lib.search.study import Study, Trial

Prepare = Callable[[ClassifyRecipe], dict[str, Artifact]]  # returns what a training by the recipe reads


@dataclass(frozen=True)
class Unable:
    """A variant that could not even begin. number: what its first training would have had."""

    number: int
    variant: Variant
    outcome: Ended


@dataclass
class Results:
    """What has ended so far, in the order in which it was wanted."""

    children: Children
    listener: Listener = NOBODY  # hears that trainings begin and end
    ended: dict[int, tuple[Training, Ended]] = field(default_factory=dict)  # by the training's number
    unable: list[Unable] = field(default_factory=list)
    _began: dict[int, float] = field(default_factory=dict)  # time.monotonic

    def begins(self, training: Training) -> None:
        """Begins a training's record."""
        self.listener.on_begin(training.name)
        self._began[training.number] = time.monotonic()
        self.children.begin(training)

    def add(self, training: Training, outcome: Ended) -> None:
        """Takes what a training came to, and tells MLflow."""
        self.children.end(training, outcome)
        self.ended[training.number] = training, outcome
        seconds = time.monotonic() - self._began.pop(training.number, time.monotonic())
        self.listener.on_end(training.name, outcome.state, seconds)
        if outcome.state in ("failed", "pruned"):
            run_log().warning("%s %s: %s", training.name, outcome.state, outcome.reason)
            return
        accuracy = validated_metrics(measured_by(training.own).folder)["accuracy"]
        run_log().info("%s %s: accuracy %.2f%%", training.name, outcome.state, 100 * accuracy)


def steps_for(recipe: ClassifyRecipe) -> tuple[str, ...]:
    """Returns the steps of a training which no other variant shares."""
    return TRAINS if recipe.evaluation.folds is None else TRAINS_ON_FOLDS


def trainings_of(variants: Sequence[Variant], repeats: int, prepare: Prepare, unable: list[Unable]) -> list[Training]:
    """Returns all trainings, each with what it reads. A variant for which that cannot be made is added to `unable`;
    raises what hindered the first one if all are."""
    found: list[Training] = []
    errors: list[FinetuneError] = []
    for place, variant in enumerate(variants):
        first = place * repeats
        try:
            for repeat in range(repeats):
                recipe = repeated(variant, repeat)
                made = dict(prepare(recipe))
                found.append(Training(first + repeat, variant, repeat, recipe, steps_for(recipe), made))
        except FinetuneError as error:
            errors.append(error)
            unable.append(Unable(first, variant, Ended("failed", reason=f"{error}")))
            run_log().warning("%s failed: %s", variant.name, error)
    if not found:
        raise errors[0]
    return found


class ListDesk:
    """Hands out trainings that are known beforehand."""

    def __init__(self, trainings: Sequence[Training], results: Results) -> None:
        self._waiting, self._results = iter(trainings), results

    def next(self) -> Training | None:
        return next(self._waiting, None)

    def begins(self, training: Training) -> None:
        self._results.begins(training)

    def prunes(self, training: Training, row: Mapping[str, float]) -> bool:  # noqa: ARG002 - of a list, none is
        return False

    def ended(self, training: Training, outcome: Ended) -> None:
        self._results.add(training, outcome)


class SearchDesk:
    """Hands out what a study suggests, and tells it what became of that.

    The study alone decides what is tried; the store knows what was trained, so that a search which goes on trains
    nothing twice.
    """

    def __init__(
        self, comparison: CompareRecipe, study: Study, first: Mapping[str, Any], prepare: Prepare, results: Results
    ) -> None:
        self._comparison, self._study, self._first = comparison, study, first
        self._prepare, self._results = prepare, results
        self._trials: dict[int, Trial] = {}  # those that run, by number
        self._known = iter(study.finished)
        self._left = iter(study.waiting())
        self._began = time.monotonic()
        self._before = study.seconds_spent

    def next(self) -> Training | None:
        """Returns a trial that a killed process had begun, or a new one, unless there were enough or time is up."""
        for ended in self._known:
            known = self._known_one(ended)
            if known is not None:
                return known
        while (trial := next(self._left, None) or self._asked()) is not None:
            made = self._training(trial.number, trial.values)
            if isinstance(made, Training):
                self._trials[trial.number] = trial
                return made
            self._study.failed(trial, made.outcome.reason)
            self._results.unable.append(made)
        return None

    def begins(self, training: Training) -> None:
        self._results.begins(training)

    def prunes(self, training: Training, row: Mapping[str, float]) -> bool:
        """Whether a trial is worse than others were after as many epochs, by its validation loss."""
        epoch, loss = row["epoch"], row.get("validation_loss", math.nan)
        trial = self._trials.get(training.number)
        if trial is None or not float(epoch).is_integer() or math.isnan(loss):
            return False
        return self._study.report(trial, int(epoch), loss if self._comparison.metric == "log_loss" else -loss)

    def ended(self, training: Training, outcome: Ended) -> None:
        self._results.add(training, outcome)
        trial = self._trials.pop(training.number, None)
        self._spend()
        if trial is None:
            return  # the study knew it
        if outcome.state == "pruned":
            self._study.pruned(trial)
            return
        metric = self._comparison.metric
        value = None if outcome.state == "failed" else validated_metrics(measured_by(training.own).folder).get(metric)
        if value is None:
            self._study.failed(trial, outcome.reason or f"its {metric} could not be measured")
        else:
            self._study.tell(trial, value)

    def _asked(self) -> Trial | None:
        search = self._comparison.search
        self._spend()
        if len(self._study.finished) + len(self._trials) >= search.trials:
            return None
        if search.seconds is not None and self._study.seconds_spent >= search.seconds:
            return None
        return self._study.ask()

    def _spend(self) -> None:
        now = time.monotonic()
        self._study.add_seconds(now - self._began)
        self._began = now

    def _known_one(self, ended: Any) -> Training | None:
        """Returns a trial that an earlier start finished, whose artifacts are in the store; None for one without."""
        if ended.state == "complete":
            training = self._training(ended.number, ended.values)
            if isinstance(training, Training):
                return training
            self._results.unable.append(training)
            return None
        try:
            variant = self._variant(ended.number, ended.values)
        except FinetuneError:
            variant = self._impossible(ended.number, ended.values)
        self._results.unable.append(Unable(ended.number, variant, Ended(ended.state, reason=ended.reason)))
        return None

    def _training(self, number: int, values: Mapping[str, Any]) -> Training | Unable:
        try:
            variant = self._variant(number, values)
        except FinetuneError as error:
            return Unable(number, self._impossible(number, values), Ended("failed", reason=f"{error}"))
        try:
            made = dict(self._prepare(variant.recipe))
        except FinetuneError as error:
            return Unable(number, variant, Ended("failed", reason=f"{error}"))
        return Training(number, variant, 0, variant.recipe, steps_for(variant.recipe), made)

    def _variant(self, number: int, values: Mapping[str, Any]) -> Variant:
        as_it_is = number == 0 and values == self._first
        return varied(self._comparison, "as it is" if as_it_is else f"trial {number}: {called(values)}", values)

    def _impossible(self, number: int, values: Mapping[str, Any]) -> Variant:
        """Returns the variant of values that contradict each other, with the recipe as it is."""
        base = varied(self._comparison, f"trial {number}: {called(values)}", {})
        return Variant(base.name, base.recipe, values)


Tried = tuple[Variant, list[tuple[Training, Ended]], Ended | None]


def in_order(results: Results) -> list[Tried]:
    """Returns each variant with its trainings, and what hindered it where it has none, in the order of the numbers."""
    found: dict[int, Tried] = {each.number: (each.variant, [], each.outcome) for each in results.unable}
    firsts: dict[str, int] = {}
    for number in sorted(results.ended):
        training, outcome = results.ended[number]
        first = firsts.setdefault(training.variant.name, number)
        found.setdefault(first, (training.variant, [], None))[1].append((training, outcome))
    return [found[number] for number in sorted(found)]
