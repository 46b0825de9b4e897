"""The fields of a search: what contradicts itself in one, and the spaces that it comes to for a classifier's recipe."""

from __future__ import annotations

from typing import Any

import pytest

from lib.errors import ExtraError, RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.reading import build_recipe
from lib.recipes.search import Search, spaces_of
from lib.recipes.sections import Section
from lib.search.spaces import Interval


class Searching(Section):
    """A recipe that has a search."""

    search: Search = Search()


def search(overrides: dict[str, str] | None = None, **fields: Any) -> Search:
    return build_recipe({"search": fields}, overrides, origin="mine.yaml", model=Searching).search


def refusal(**fields: Any) -> str:
    with pytest.raises(RecipeError) as refused:
        search(**fields)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_nothing_is_searched_by_default() -> None:
    assert not search().spaces
    search().require_extras()


def test_ranges_are_of_whole_numbers_where_the_field_is_and_choices_are_numbers_where_it_is() -> None:
    found = search(
        spaces={
            "training.learning_rate": {"low": "1e-5", "high": "1e-2", "log": True},
            "training.epochs": {"low": 2, "high": 8, "step": 2},
            "training.weight_decay": ["1e-2", 0, "0.1"],
            "training.schedule": ["constant", "cosine"],
            "training.batch_size": [8, "16"],
            "training.gradient_clip": [None, 1],
            "classifier.padding": ["batch", "64"],
            "evaluation.baseline": [True, False],
            "model.dropout": {"low": 0, "high": 1},
        }
    )
    spaces = spaces_of(found, ClassifyRecipe)
    assert spaces == {
        "training.learning_rate": Interval(1e-5, 1e-2, log=True),
        "training.epochs": Interval(2, 8, step=2, whole=True),
        "training.weight_decay": (0.01, 0, 0.1),
        "training.schedule": ("constant", "cosine"),
        "training.batch_size": (8, 16),
        "training.gradient_clip": (None, 1),
        "classifier.padding": ("batch", 64),
        "evaluation.baseline": (True, False),
        "model.dropout": Interval(0, 1),
    }
    assert Search.model_validate(found.model_dump()) == found


def test_spaces_are_read_from_a_command_line() -> None:
    given = {
        "search.spaces": "{training.epochs: {low: 2, high: 8}, training.batch_size: [8, 16]}",
        "search.trials": "5",
    }
    found = search(given)
    assert spaces_of(found, ClassifyRecipe) == {
        "training.epochs": Interval(2, 8, whole=True),
        "training.batch_size": (8, 16),
    }
    assert found.trials == 5


RATE = "training.learning_rate"


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"low": 0.1, "high": 0.01}, "low is 0.1 and high is 0.01, but low must be below high"),
        ({"low": 1, "high": 1}, "low is 1 and high is 1, but low must be below high"),
        (
            {"low": 0, "high": 1, "log": True},
            "low is 0, but with log it must be above 0, as its logarithm is needed",
        ),
        (
            {"low": 1, "high": 9, "log": True, "step": 1},
            "log and step both say how the numbers lie between low and high: leave one of them out",
        ),
        ({"low": 1, "high": 2, "step": 3}, "step is 3, which from low 1 on passes high 2 at once"),
        ({"low": "x", "high": 2}, "low is 'x', but must be a number"),
        ({"low": True, "high": 2}, "low is true, but must be a number"),
        ({"low": 1, "high": float("inf")}, "high is inf, but must be a number"),
        ({"low": 1, "high": 2, "hihg": 3}, "there is no field hihg: did you mean high?"),
        ([8, [16]], "[16] is no choice: name numbers, texts, true, false or null"),
        ([8, 16, 8], "8 is there twice: name each choice once"),
        ([1, True], "1 is there twice: name each choice once"),
    ],
)
def test_a_wrong_space_is_named_in_one_sentence(space: Any, sentence: str) -> None:
    assert refusal(spaces={RATE: space}) == f"mine.yaml: search.spaces: {RATE}: {sentence}"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"spaces": {RATE: []}}, f"search.spaces: {RATE} has no choice: name some, as in [8, 16, 32]"),
        (
            {"spaces": {RATE: 3}},
            f"search.spaces: {RATE} is 3: write a range, {{low: 1, high: 8}}, or choices, [8, 16, 32]",
        ),
        (
            {"trials": 5},
            "search.trials is about a search, and search.spaces names no field to search: name some, or leave"
            " search.trials out",
        ),
        (
            {"spaces": {RATE: [1]}, "trials": 0},
            "search.trials is 0, but must be a whole number of at least 1 and of at most 10000",
        ),
        (
            {"spaces": {RATE: [1]}, "storage": "mysql://me:geheim!@host/db"},
            "search.storage is 'mysql://host/db', but must be a PostgreSQL server's address,"
            " postgresql://user:password@host:5432/database: leave it out for a file in the home",
        ),
        (
            {"spaces": {RATE: [1]}, "storage": "search.db"},
            "search.storage is 'search.db', but must be a PostgreSQL server's address,"
            " postgresql://user:password@host:5432/database: leave it out for a file in the home",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], sentence: str) -> None:
    assert refusal(**fields) == f"mine.yaml: {sentence}"


@pytest.mark.parametrize(
    ("spaces", "sentence"),
    [
        (
            {"training.epoch": [1]},
            "search.spaces: there is no field training.epoch: did you mean training.epochs?",
        ),
        (
            {"training.epochs": {"low": 1, "high": 2.5}},
            "search.spaces: high of training.epochs is 2.5, and the field must be a whole number of at least 1: name a"
            " whole one",
        ),
        (
            {"training.schedule": {"low": 1, "high": 2}},
            "search.spaces: training.schedule must be constant or cosine, which has no range: name choices, as in [a,"
            " b]",
        ),
    ],
)
def test_a_space_is_one_of_its_field(spaces: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as refused:
        spaces_of(search(spaces=spaces), ClassifyRecipe)
    assert str(refused.value) == sentence


def test_a_password_stays_out_of_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = search(spaces={RATE: [1]}, storage="postgresql://me:geheim!@host/search")
    assert found.model_dump(mode="json")["storage"] == "postgresql://host/search"
    for reference in ("postgresql://me:${PASSWORD}@host/search", "${SEARCH_STORAGE}"):
        assert search(spaces={RATE: [1]}, storage=reference).storage == reference


@pytest.mark.parametrize(
    ("package", "sentence"),
    [
        (
            "optuna",
            "search needs the package optuna, which is not installed: run `pip install 'finetune-flows[search]'`",
        ),
        (
            "psycopg2",
            "search.storage with a PostgreSQL server needs the package psycopg2, which is not installed: run `pip"
            " install 'finetune-flows[postgres]'`",
        ),
    ],
)
def test_a_search_asks_for_its_extras(package: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = search(spaces={RATE: [1]}, storage="postgresql://me@host/search")
    found.require_extras()
    monkeypatch.setattr("lib.extras.find_spec", lambda name: None if name == package else object())
    with pytest.raises(ExtraError) as missing:
        found.require_extras()
    assert str(missing.value) == sentence
