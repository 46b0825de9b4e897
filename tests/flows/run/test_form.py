"""A recipe's form: the fields, limits and words of the recipe, and only what was given comes out of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flows.run.form import dotted, overrides_of
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.fields import recipe_fields
from lib.recipes.instruct import InstructRecipe
from tests.support.recipes import load_recipe

FORM = overrides_of(ClassifyRecipe)


@pytest.mark.parametrize("recipe", [ClassifyRecipe, InstructRecipe])
def test_every_field_that_a_step_reads_is_there_with_its_description(recipe: Any) -> None:
    form = {field.path: (field.kind, field.description) for field in recipe_fields(overrides_of(recipe))}
    wanted = {field.path: (field.kind, field.description) for field in recipe_fields(recipe)}
    assert form == {path: words for path, words in wanted.items() if not path.startswith("published.")}


@pytest.mark.parametrize(
    "given",
    [
        {"training": {"epochs": 0}},
        {"training": {"epoch": 1}},
        {"training": {"learning_rate": float("nan")}},
        {"training": 3},
        {"model": {"size": "huge"}},
        {"published": {}},
    ],
)
def test_what_is_wrong_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FORM.model_validate(given)


def test_only_what_was_given_comes_out() -> None:
    given = {"training": {"epochs": 3, "gradient_clip": None}, "encoding": {}}
    form = FORM.model_validate(given)
    assert form.model_dump() == given
    assert dotted(form) == {"training.epochs": "3", "training.gradient_clip": "null"}
    assert FORM().model_dump() == {}


def test_null_is_nothing_where_a_field_cannot_be_null() -> None:
    form = FORM.model_validate({"training": {"epochs": None, "patience": None}, "model": None})
    assert form.model_dump() == {"training": {"patience": None}}


def test_merged_into_a_recipe_they_are_its_fields() -> None:
    given: dict[str, Any] = {
        "name": "mine",
        "data": {"source": "file", "url": ["/a.csv", "/b.csv"], "text_column": 1, "label_column": 0},
        "encoding": {"max_length": 40},
        "classifier": {"padding": 64},
        "training": {"learning_rate": 1e-05, "published_figures": True, "patience": None},
    }
    recipe = load_recipe("quickstart", dotted(FORM.model_validate(given)))
    found = recipe.model_dump(mode="json")
    assert found["name"] == "mine"
    for section, fields in given.items():
        if section != "name":
            assert {name: found[section][name] for name in fields} == fields
    assert found["split"] == load_recipe("quickstart").model_dump(mode="json")["split"]
