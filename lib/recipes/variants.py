"""Makes the variants of a comparison: a checked recipe for each, or one sentence about the one that cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from lib.errors import RecipeError, listed
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.compare import MOST_VARIANTS, CompareRecipe
from lib.recipes.fields import recipe_fields, unnamed_fields, value_at
from lib.recipes.mistakes import unknown_field
from lib.recipes.reading import bundled_recipes, load_recipe
from lib.visible import visible

CLASSIFY = "classify"
REGISTRY_NAME, PUBLISHED_FIGURES = "registry.name", "training.published_figures"
TFIDF = "TF-IDF"  # what the baseline is called among the variants
SEARCHED = ("encoding", "model", "classifier", "lora", "training")  # the sections that choose no messages
# Of these a comparison has one value, whatever variants say of themselves.
OF_ALL = ("cluster", "training.device", "evaluation.confidence", "evaluation.folds")
SCRATCH = "scratch"  # as `model.weights`


@dataclass(frozen=True)
class Variant:
    """One recipe of a comparison. changes: the dotted fields in which it differs from the others' base."""

    name: str
    recipe: ClassifyRecipe
    changes: Mapping[str, Any]


def variants_of(comparison: CompareRecipe) -> tuple[Variant, ...]:
    """Returns all variants, in order; of a search the recipe as it is, alone. Raises RecipeError with one sentence."""
    found = tuple(_variants(comparison))
    names = [variant.name for variant in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"{comparison.name}: two variants are called {listed(twice)}: give each a name of its own")
    if TFIDF in names:
        raise RecipeError(f"{comparison.name}: a variant is called {TFIDF}, as the baseline is: choose another name")
    _require_one_way_of_measuring(comparison, found)
    unknown = sorted(comparison.published.keys() - set(names))
    if unknown:
        raise RecipeError(f"{comparison.name}: published names {listed(unknown)}, and no variant is called so")
    return found


def varied(comparison: CompareRecipe, name: str, changes: Mapping[str, Any]) -> Variant:
    """Returns the variant of the comparison's recipe with these changes; raises RecipeError that names it."""
    assert comparison.recipe is not None, "the comparison's own checks"
    return Variant(name, _recipe(comparison, comparison.recipe, name, changes), changes)


def repeated(variant: Variant, number: int) -> ClassifyRecipe:
    """Returns the recipe of a variant's training `number`, from 0: with other seeds for what begins at random."""
    recipe, seed = variant.recipe, variant.recipe.training.seed + number
    training = recipe.training.model_copy(update={"seed": seed})
    model = recipe.model
    if model.weights == SCRATCH:
        model = model.model_copy(update={"seed": model.seed + number})
    return recipe.model_copy(update={"training": training, "model": model})


def called(changes: Mapping[str, Any]) -> str:
    """Names a variant after what it changes: `learning_rate 0.001, batch_size 8`; by whole paths where the last words
    are the same."""
    last = [path.rpartition(".")[2] for path in changes]
    names = last if len(set(last)) == len(last) else list(changes)
    return ", ".join(f"{name} {_shown(value)}" for name, value in zip(names, changes.values(), strict=True))


def _variants(comparison: CompareRecipe) -> Iterator[Variant]:
    if comparison.recipes:
        for name in comparison.recipes:
            recipe = _recipe(comparison, name, name, {})
            yield Variant(recipe.name, recipe, {})
    elif comparison.search.spaces:
        for path in comparison.search.spaces:
            if path.partition(".")[0] not in SEARCHED or path in OF_ALL:
                raise RecipeError(
                    f"{comparison.name}: search.spaces has {path}, but trials can only be compared by the same messages"
                    f" and in the same way: search fields of {listed(SEARCHED)}"
                )
        yield varied(comparison, "as it is", {})
    elif comparison.grid:
        many = 1
        for values in comparison.grid.values():
            many *= len(values)
        if many > MOST_VARIANTS:
            raise RecipeError(f"{comparison.name}: the grid has {many:,} combinations: search them instead")
        for combination in product(*comparison.grid.values()):
            changes = dict(zip(comparison.grid, combination, strict=True))
            yield varied(comparison, called(changes), changes)
    else:
        for name, changes in comparison.variants.items():
            yield varied(comparison, name, changes)


def _recipe(comparison: CompareRecipe, recipe: str, name: str, changes: Mapping[str, Any]) -> ClassifyRecipe:
    known = {field.path for field in recipe_fields(ClassifyRecipe)} | unnamed_fields(ClassifyRecipe).keys()
    for path in (*comparison.changes, *changes):
        if path not in known:
            raise RecipeError(f"{comparison.name}, {visible(name)}: {unknown_field(path, model=ClassifyRecipe)}")
    all_changes = {REGISTRY_NAME: comparison.name, PUBLISHED_FIGURES: False, **comparison.changes, **changes}
    try:
        loaded = load_recipe(recipe, all_changes, folder=CLASSIFY, model=ClassifyRecipe)
    except RecipeError as error:
        raise RecipeError(f"{comparison.name}, {visible(name)}: {error}") from None
    if loaded.training.published_figures:
        raise RecipeError(
            f"{comparison.name}, {visible(name)}: {PUBLISHED_FIGURES} is true, and those are also of the test split,"
            " which a comparison does not open before it has chosen: leave it out"
        )
    return loaded


def _require_one_way_of_measuring(comparison: CompareRecipe, variants: Sequence[Variant]) -> None:
    """Raises RecipeError if variants differ in what is the comparison's, not theirs."""
    first, *others = variants
    wanted = first.recipe.model_dump(mode="json")
    values = [(other, other.recipe.model_dump(mode="json")) for other in others]
    for path in OF_ALL:
        for other, its in values:
            if value_at(its, path) != value_at(wanted, path):
                raise RecipeError(
                    f"{comparison.name}: variants {visible(first.name)} and {visible(other.name)} have another {path},"
                    " and a comparison has one: set it in changes"
                )
    if comparison.baseline and first.recipe.evaluation.folds is not None:
        raise RecipeError(
            f"{comparison.name}: baseline is true, but with evaluation.folds the variants are measured on folds, and"
            " TF-IDF is on validation alone: leave one of the two out"
        )


def changed_everywhere(comparison: CompareRecipe, changes: Mapping[str, Any]) -> CompareRecipe:
    """Returns the comparison with fields set in all variants, whatever these say. Raises RecipeError if one of them is
    what a grid or a search tries."""
    for path in changes:
        for way, varies in (("grid", comparison.grid), ("search", comparison.search.spaces)):
            if path in varies:
                raise RecipeError(f"--{path} sets in all variants what {comparison.name} tries ({way}): leave it out")
    variants = {
        name: {path: value for path, value in own.items() if path not in changes}
        for name, own in comparison.variants.items()
    }
    return comparison.model_copy(update={"changes": {**comparison.changes, **changes}, "variants": variants})


def beside(recipe: str, folder: Path) -> str:
    """Returns where a recipe is that a comparison's file names: a bundled one keeps its name, and a file may lie beside
    the comparison's."""
    if recipe in bundled_recipes(CLASSIFY):
        return recipe
    file = folder / Path(recipe).expanduser()
    return str(file) if file.is_file() else recipe


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else f"{value}"
