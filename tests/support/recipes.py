"""Builds recipes of classifiers, which most tests are about, by `lib.recipes.reading`."""

from __future__ import annotations

from functools import partial

from lib.recipes import reading
from lib.recipes.classify import ClassifyRecipe

build_recipe = partial(reading.build_recipe, model=ClassifyRecipe)
load_recipe = partial(reading.load_recipe, folder="classify", model=ClassifyRecipe)
