"""What a search hands out, and what becomes of what it had handed out before: nothing is trained here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from lib.errors import SourceError
from lib.recipes.compare import CompareRecipe
from lib.recipes.reading import build_recipe
from lib.recipes.variants import variants_of
from lib.search.study import Ended as EndedTrial
from lib.search.study import Trial
from tasks.compare.desks import Results, SearchDesk, Unable, in_order, trainings_of
from tasks.compare.trainings import Ended, Training

RATE, PADDING, POOLING = "training.learning_rate", "classifier.padding", "classifier.pooling"
POSSIBLE: dict[str, str | int | float | bool | None] = {RATE: 1e-3, PADDING: "batch", POOLING: "last_token"}
IMPOSSIBLE: dict[str, str | int | float | bool | None] = {RATE: 1e-3, PADDING: "batch", POOLING: "padded_last"}


@dataclass
class FakeStudy:
    """Hands out what it was given."""

    finished: list[EndedTrial] = field(default_factory=list)
    left: list[Trial] = field(default_factory=list)
    new: list[Mapping[str, Any]] = field(default_factory=list)
    seconds_spent: float = 0.0
    told: list[tuple[str, int, Any]] = field(default_factory=list)

    def waiting(self) -> list[Trial]:
        return self.left

    def ask(self) -> Trial:
        return Trial(len(self.finished), self.new.pop(0))

    def failed(self, trial: Trial, reason: str) -> None:
        self.told.append(("failed", trial.number, reason))
        self.finished.append(EndedTrial(trial.number, trial.values, None, "failed", reason, 0.0))

    def pruned(self, trial: Trial) -> None:
        self.told.append(("pruned", trial.number, None))

    def report(self, trial: Trial, step: int, value: float) -> bool:
        self.told.append(("report", step, value))
        return False

    def add_seconds(self, seconds: float) -> None:
        self.seconds_spent += seconds


class NoRuns:
    """Keeps no record."""

    def begin(self, training: Training) -> None:
        pass

    def end(self, training: Training, outcome: Ended) -> None:
        pass


def desk_of(
    study: FakeStudy, *, metric: str = "accuracy", trials: int = 4, **search: Any
) -> tuple[SearchDesk, Results]:
    spaces = {RATE: [1e-3, 1e-4], PADDING: ["batch", "longest"], POOLING: ["last_token", "padded_last"]}
    given = {
        "name": "s",
        "recipe": "quickstart",
        "metric": metric,
        "search": {"spaces": spaces, "trials": trials, **search},
    }
    comparison = build_recipe(given, model=CompareRecipe)
    results = Results(NoRuns())  # type: ignore[arg-type]
    return SearchDesk(comparison, study, POSSIBLE, lambda recipe: {}, results), results  # type: ignore[arg-type]


def all_of(desk: SearchDesk) -> list[Training]:
    return list(iter(desk.next, None))


def test_values_that_contradict_each_other_are_a_failed_trial_now_and_on_every_later_start() -> None:
    study = FakeStudy(new=[IMPOSSIBLE, POSSIBLE, POSSIBLE, POSSIBLE])
    desk, results = desk_of(study, trials=1)
    assert desk.next() is None
    ((_, number, reason),) = study.told
    assert (number, [each.outcome.state for each in results.unable]) == (0, ["failed"])
    assert "classifier.pooling 'padded_last' with classifier.padding 'batch'" in reason
    again, results = desk_of(FakeStudy(finished=study.finished), trials=1)
    assert again.next() is None
    ((variant, trainings, outcome),) = in_order(results)
    assert (variant.changes, trainings, outcome) == (IMPOSSIBLE, [], Ended("failed", reason=reason))


def test_the_recipe_as_it_is_is_called_so_once_and_trials_of_the_same_values_stay_apart() -> None:
    done = [EndedTrial(number, POSSIBLE, 0.9, "complete", "", 1.0) for number in range(3)]
    desk, results = desk_of(FakeStudy(finished=done), trials=3)
    trainings = all_of(desk)
    assert [each.name.partition(":")[0] for each in trainings] == ["as it is", "trial 1", "trial 2"]
    for each in trainings:
        results.ended[each.number] = each, Ended("cached")
    assert [len(found) for _, found, _ in in_order(results)] == [1, 1, 1]


def test_what_a_killed_process_had_begun_comes_before_what_is_new_and_counts() -> None:
    desk, _ = desk_of(FakeStudy(left=[Trial(3, POSSIBLE)]), trials=1)
    assert [each.number for each in all_of(desk)] == [3]
    desk, _ = desk_of(FakeStudy(seconds_spent=9.0, new=[POSSIBLE]), seconds=9)
    assert desk.next() is None, "no trial begins when the time is up"


@pytest.mark.parametrize(("metric", "value"), [("accuracy", -0.5), ("log_loss", 0.5)])
def test_a_study_hears_the_validation_loss_after_whole_epochs_in_its_own_direction(metric: str, value: float) -> None:
    study = FakeStudy(new=[POSSIBLE])
    desk, _ = desk_of(study, metric=metric)
    training = desk.next()
    assert training is not None
    for epoch in (0.5, 1.0, 1.5):
        desk.prunes(training, {"step": 1, "epoch": epoch, "validation_loss": 0.5})
    desk.prunes(training, {"step": 1, "epoch": 2.0, "validation_loss": float("nan")})
    assert study.told == [("report", 1, value)]


def test_a_variant_that_cannot_be_prepared_fails_alone_unless_all_do() -> None:
    comparison = build_recipe(
        {"name": "l", "recipe": "quickstart", "variants": {"a": {}, "b": {"model.size": "gpt2-small"}}},
        model=CompareRecipe,
    )

    def prepare(recipe: Any) -> dict[str, Any]:
        if recipe.model.size == "gpt2-small":
            raise SourceError("no such weights")
        return {}

    unable: list[Unable] = []
    assert [each.name for each in trainings_of(variants_of(comparison), 2, prepare, unable)] == ["a", "a, repeat 2"]
    assert [(each.number, each.outcome.reason) for each in unable] == [(2, "no such weights")]
    with pytest.raises(SourceError):
        trainings_of(variants_of(comparison)[1:], 1, prepare, [])
