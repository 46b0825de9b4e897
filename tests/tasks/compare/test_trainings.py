"""Trainings side by side, in real processes: what they share, what they open, and what becomes of those that fail."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.data.parts import Parts
from lib.data.tables import KEYED_SPLIT
from lib.errors import RecipeError
from lib.evaluation.classify.validated import right_answers, validated_metrics
from lib.recipes.variants import Variant
from tasks.compare.crew import STARTS, LocalCrew
from tasks.compare.job import BASELINE
from tasks.compare.recording import cost_of, measured_by
from tasks.compare.shared import require_same_messages
from tasks.compare.trainings import Ended, Training
from tasks.store import artifact_store
from tests.support.opened import opened
from tests.support.steps import STEPS, performed, write_data
from tests.support.trainings import Desk, go, recipe_of, training_of

pytestmark = pytest.mark.slow

RATES = (5e-3, 1e-2, 2e-2, 1e6)  # the last one's loss is soon no number


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with all that comes before a training, features of the frozen part among it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_HOME", str(home))
        patch.delenv("FINETUNE_STORE", raising=False)
        recipe = recipe_of(write_data(tmp_path_factory.mktemp("data"), {}), RATES[0])
        made = performed(artifact_store(), recipe, STEPS[:-1])
        yield recipe, made


def all_rates(shared: Any) -> list[Training]:
    recipe, made = shared
    data = Path(recipe.data.url)
    return [training_of(number, recipe_of(data, rate), made) for number, rate in enumerate(RATES)]


def test_variants_train_on_one_features_artifact_and_none_opens_the_test_split(shared: Any) -> None:
    trainings = all_rates(shared)
    made = trainings[0].made
    of_test = [
        file
        for step in ("split", "holdout", "tokenize", "features")
        for file in made[step].folder.rglob("*")
        if file.is_file() and file.relative_to(made[step].folder).parts[0] == "test"
    ]
    assert len(of_test) >= 4, "each of those steps has a part of the test split"
    others = [file for file in made["features"].folder.rglob("*") if file.is_file() and "validation" in file.parts]
    with LocalCrew() as crew, opened([*of_test, *others]) as watched:
        desk = go(Desk([*trainings]), crew)
        assert {*watched.so_far()} == {*others}  # those of validation were opened, so that opening is noticed
        Parts(made["holdout"].file("test"), KEYED_SPLIT).numbers("id")
        assert {*watched.so_far()} & {*of_test}
    states = {name: outcome.state for name, outcome in desk.outcomes.items()}
    assert [states[each.name] for each in trainings] == ["ran", "ran", "ran", "failed"], "one that fails ends no other"
    assert "is not a finite number: lower training.learning_rate" in desk.outcomes["rate 1e+06"].reason
    store = artifact_store()
    assert len(list(store.manifests("features"))) == 1
    assert len(list(store.manifests("finetune"))) == len(list(store.manifests("validate"))) == 3
    for training in trainings[:3]:
        measured = measured_by(training.own)
        accuracy = validated_metrics(measured.folder)["accuracy"]
        assert accuracy == pytest.approx(right_answers(measured.folder).mean())
        cost = cost_of(training.own)
        assert cost["seconds"] > 0
        assert cost["peak_memory"] > 2**26
        assert 0 < cost["trainable_parameters"] < cost["parameters"]
        assert desk.rows[training.name], "its curve was heard"


def test_what_is_in_the_store_starts_no_process(shared: Any) -> None:
    class Nobody:
        def start(self, number: int, job: Any) -> None:
            raise AssertionError("nothing is to be computed")

    desk = Desk(all_rates(shared)[:3])
    go(desk, Nobody())  # type: ignore[arg-type]
    assert {outcome.state for outcome in desk.outcomes.values()} == {"cached"}
    assert desk.begun == []


def test_the_same_numbers_come_out_in_a_process_of_its_own(shared: Any) -> None:
    recipe, made = shared
    training = training_of(0, recipe, made)
    with LocalCrew() as crew:
        go(Desk([training]), crew)
    here = performed(artifact_store(), recipe_of(Path(recipe.data.url), RATES[0]), STEPS, reuse=True)
    assert here["finetune"].digest == training.made["finetune"].digest


def test_a_training_whose_process_is_killed_goes_on_and_one_that_always_is_fails_alone(shared: Any) -> None:
    recipe, made = shared
    data = Path(recipe.data.url)
    struck, doomed = (recipe_of(data, rate) for rate in (3e-3, 4e-3))
    trainings = [training_of(0, struck, made, "struck once"), training_of(1, doomed, made, "struck always")]

    class Striking(LocalCrew):
        starts: list[int]

        def hear(self) -> list[tuple[int, Any]]:
            said = super().hear()
            for number, message in said:
                if "row" in message and number in self._workers and (number == 1 or self.starts.count(0) == 1):
                    os.kill(self._workers[number].process.pid or 0, signal.SIGKILL)
            return said

        def start(self, number: int, job: Any) -> None:
            self.starts.append(number)
            super().start(number, job)

    with Striking() as crew:
        crew.starts = []
        desk = go(Desk(trainings), crew)
        assert crew.starts.count(0) == 2
        assert crew.starts.count(1) == STARTS
    assert desk.outcomes["struck once"].state == "ran"
    assert desk.outcomes["struck always"].state == "failed"
    assert desk.outcomes["struck always"].reason == (
        f"its process was killed (status -9), {STARTS} times: most often memory is too small for so many at once"
    )


def test_one_that_is_given_up_ends_at_once_and_leaves_no_process(shared: Any) -> None:
    recipe, made = shared
    given_up = training_of(0, recipe_of(Path(recipe.data.url), 7e-3), made, "given up")
    with LocalCrew() as crew:
        desk = go(Desk([given_up], prune="given up"), crew)
        assert crew._workers == {}
    assert desk.outcomes["given up"] == Ended("pruned", reason="given up after 0.0909 epochs")


def test_folds_leave_the_test_split_alone(shared: Any) -> None:
    recipe, made = shared
    folded = recipe_of(Path(recipe.data.url), RATES[0], evaluation={"folds": 3})
    training = training_of(0, folded, made)
    with LocalCrew() as crew, opened([*made["tokenize"].file("test").glob("*")]) as watched:
        desk = go(Desk([training]), crew)
        assert watched.so_far() == []
    assert desk.outcomes[training.name] == Ended("ran", ("validate_folds",))
    holdout = made["holdout"]
    rows = sum(len(Parts(holdout.file(name), KEYED_SPLIT)) for name in ("train", "validation"))
    assert len(right_answers(measured_by(training.own).folder)) == rows
    assert cost_of(training.own).keys() == {"seconds", "peak_memory", "parameters", "trainable_parameters"}


def test_tfidf_is_measured_on_the_same_messages(shared: Any) -> None:
    recipe, made = shared
    training = Training(9, Variant("TF-IDF", recipe, {}), 0, recipe, BASELINE, dict(made))
    with LocalCrew() as crew:
        go(Desk([training]), crew)
    targets = Parts(made["holdout"].file("validation"), KEYED_SPLIT).numbers("target")
    measured = measured_by(training.own)
    assert len(right_answers(measured.folder)) == len(targets)
    assert validated_metrics(measured.folder)["accuracy"] > np.bincount(targets).max() / len(targets)


def test_variants_with_other_messages_are_not_compared(shared: Any, tmp_path: Path) -> None:
    recipe, made = shared
    other = recipe_of(Path(recipe.data.url), RATES[0], split={"seed": 7})
    made_otherwise = performed(artifact_store(), other, STEPS[:5], reuse=True)
    variants = [(Variant("one", recipe, {}), dict(made)), (Variant("two", other, {}), made_otherwise)]
    with pytest.raises(RecipeError, match="variants 'one' and 'two' have other validation messages"):
        require_same_messages(variants, folds=False)
