"""The recipe of a comparison, and the variants that it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.errors import RecipeError
from lib.recipes.compare import CompareRecipe
from lib.recipes.reading import build_recipe, bundled_recipes, load_recipe
from lib.recipes.variants import called, changed_everywhere, repeated, variants_of
from lib.secrets import revealed

RATE, BATCH = "training.learning_rate", "training.batch_size"


def comparison(**values: Any) -> CompareRecipe:
    if "recipes" not in values:
        values = {"recipe": "quickstart", **values}
    return build_recipe({"name": "mine", **values}, model=CompareRecipe)


def refusal(**values: Any) -> str:
    with pytest.raises(RecipeError) as refused:
        variants_of(comparison(**values))
    return str(refused.value)


def test_variants_differ_from_the_recipe_in_what_they_say_and_in_nothing_else() -> None:
    base = load_recipe(
        "quickstart", folder="classify", model=type(variants_of(comparison(variants={"a": {}}))[0].recipe)
    )
    found = variants_of(comparison(changes={"training.epochs": 2}, variants={"a": None, "b": {RATE: "1e-4", BATCH: 8}}))
    assert [variant.name for variant in found] == ["a", "b"]
    assert [variant.recipe.training.epochs for variant in found] == [2, 2]
    assert (found[1].recipe.training.learning_rate, found[1].recipe.training.batch_size) == (1e-4, 8)
    assert found[0].recipe.training.learning_rate == base.training.learning_rate
    assert {variant.recipe.registry.name for variant in found} == {"mine"}, "none of them is registered by its own name"
    assert found[1].changes == {RATE: "1e-4", BATCH: 8}


def test_a_grid_has_all_combinations_the_first_values_first() -> None:
    found = variants_of(comparison(grid={RATE: [1e-3, 1e-4], BATCH: [8, 16]}))
    assert [variant.name for variant in found] == [
        "learning_rate 0.001, batch_size 8",
        "learning_rate 0.001, batch_size 16",
        "learning_rate 0.0001, batch_size 8",
        "learning_rate 0.0001, batch_size 16",
    ]
    assert refusal(grid={RATE: [1e-3] * 40, BATCH: list(range(1, 41))}) == (
        "mine: the grid has 1,600 combinations: search them instead"
    )


def test_whole_recipes_are_compared_as_they_are() -> None:
    found = variants_of(comparison(recipes=["quickstart", "sms-tiny"]))
    assert [(variant.name, variant.recipe.data.source) for variant in found] == [
        ("quickstart", "sample"),
        ("sms-tiny", "sms-spam"),
    ]


def test_repeats_begin_otherwise_also_with_other_random_weights() -> None:
    (variant,) = variants_of(comparison(variants={"a": {}}))
    again = repeated(variant, 2)
    assert (again.training.seed, again.model.seed) == (
        variant.recipe.training.seed + 2,
        variant.recipe.model.seed + 2,
    )
    (pretrained,) = variants_of(comparison(recipes=["encoder"]))
    assert repeated(pretrained, 1).model == pretrained.recipe.model
    assert repeated(variant, 0) == variant.recipe


def test_what_is_set_everywhere_wins_and_nothing_is_left_to_try_then() -> None:
    given = comparison(changes={BATCH: 4}, variants={"a": {BATCH: 8}, "b": {RATE: 1e-4}})
    found = variants_of(changed_everywhere(given, {BATCH: "2"}))
    assert [variant.recipe.training.batch_size for variant in found] == [2, 2]
    with pytest.raises(RecipeError, match=r"--training\.batch_size sets in all variants what mine tries \(grid\)"):
        changed_everywhere(comparison(grid={BATCH: [8, 16]}), {BATCH: "2"})


def test_names_say_what_is_changed() -> None:
    assert called({"a.seed": 1, "b.seed": True}) == "a.seed 1, b.seed true"
    assert called({"lora.rank": None, RATE: 0.00030000000000000003}) == "rank null, learning_rate 0.0003"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "the recipe: nothing says which variants there are: give recipes, variants, grid or search"),
        (
            {"variants": {"a": {}}, "grid": {RATE: [1]}},
            "the recipe: variants and grid both say which variants there are: leave one of them out",
        ),
        (
            {"recipe": None, "variants": {"a": {}}},
            "the recipe: variants varies a recipe, and none is named: set recipe",
        ),
        (
            {"recipe": "quickstart", "recipes": ["sms-tiny"]},
            "the recipe: recipe names what is varied, and recipes are compared as they are: give one of the two",
        ),
        (
            {"variants": {"a": {}}, "register_chosen": True, "open_test": False},
            "the recipe: register_chosen is true, and open_test is false: a version is registered with its figures on"
            " the test split, so set open_test to true, or leave register_chosen out",
        ),
        (
            {"variants": {"a": {}}, "published": {"b": {"test": 0.9}}},
            "mine: published names b, and no variant is called so",
        ),
        (
            {"recipes": ["quickstart", "quickstart"]},
            "mine: two variants are called quickstart: give each a name of its own",
        ),
        (
            {"variants": {"a": {"training.learning_rat": 1}}},
            "mine, a: there is no field training.learning_rat: did you mean training.learning_rate?",
        ),
        (
            {"search": {"spaces": {RATE: [1e-3, 1e-4]}}, "repeats": 2},
            "the recipe: repeats is 2, and a search trains each of its variants once: leave repeats out, and compare"
            " what the search finds in a comparison of its own",
        ),
    ],
)
def test_mistakes_get_one_sentence(values: dict[str, Any], sentence: str) -> None:
    assert refusal(**values) == sentence


@pytest.mark.parametrize("name", bundled_recipes("compare"))
def test_the_bundled_comparisons_are_made_of_recipes_that_there_are(name: str) -> None:
    found = load_recipe(name, folder="compare", model=CompareRecipe)
    assert variants_of(found)


def test_the_ablations_are_the_published_ones_with_their_figures() -> None:
    """docs/book.md has the same table, with the flags of each row."""
    found = load_recipe("ablations", folder="compare", model=CompareRecipe)
    lines = (Path(__file__).parents[3] / "docs" / "book.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:20]
    assert [name.partition(":")[0] for name in found.variants] == [row[0] for row in rows]
    for row, (name, changes) in zip(rows, found.variants.items(), strict=True):
        assert f"{found.published[name]['test']:.2%}".replace("%", " %") == row[2]
        flags = row[3].strip("`").removeprefix("--").split(" --") if row[3] else []
        written = {flag.partition(" ")[0]: flag.partition(" ")[2] for flag in flags}
        given = {path: f"{value}".replace("False", "false") for path, value in changes.items()}
        assert {path: given[path] for path in written} == written
        assert given.keys() - written.keys() <= {"model.size"}


def test_the_published_figures_are_left_out_because_they_are_of_the_test_split_too() -> None:
    (variant,) = variants_of(comparison(recipe="book", variants={"a": {}}))
    assert not variant.recipe.training.published_figures
    assert refusal(recipe="book", variants={"a": {"training.published_figures": True}}) == (
        "mine, a: training.published_figures is true, and those are also of the test split, which a comparison does not"
        " open before it has chosen: leave it out"
    )


def test_variants_are_measured_in_one_way() -> None:
    assert refusal(variants={"a": {}, "b": {"evaluation.confidence": 0.9}}) == (
        "mine: variants a and b have another evaluation.confidence, and a comparison has one: set it in changes"
    )
    assert refusal(variants={"a": {}}, changes={"evaluation.folds": 3}, baseline=True).startswith(
        "mine: baseline is true, but with evaluation.folds"
    )
    assert refusal(variants={"TF-IDF": {}}).startswith("mine: a variant is called TF-IDF, as the baseline is")
    for path in ("split.seed", "data.url", "evaluation.folds", "registry.name", "training.device"):
        assert refusal(search={"spaces": {path: ["a", "b"]}}).startswith(f"mine: search.spaces has {path}, but trials")


def test_secrets_of_addresses_reach_the_recipe_and_nothing_that_is_shown() -> None:
    written = "https://bob:s3cretword@example.org/texts.csv"
    for given in (
        {"changes": {"data.source": "file", "data.url": written}, "variants": {"a": {}}},
        {"changes": {"data.source": "file"}, "grid": {"data.url": [written]}},
        {"changes": {"data.source": "file"}, "variants": {"a": {"data.url": written}}},
    ):
        found = comparison(**given)
        (variant,) = variants_of(found)
        shown = f"{found.model_dump(mode='json')} {variant.name} {variant.changes}"
        assert "s3cretword" not in shown
        url = variant.recipe.data.url
        assert isinstance(url, str)
        assert revealed(url) == written
    searched = comparison(search={"spaces": {"model.weights": [written, "scratch"]}})
    assert "s3cretword" not in f"{searched.model_dump(mode='json')}"
