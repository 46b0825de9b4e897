"""The run that would train on what was inspected: as a command line, and as a recipe."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lib.data.messages.labels import mapping_flag
from lib.errors import RecipeError

BASE = "quickstart"  # the recipe that needs no network and no card; any other takes the same fields
UNSUITABLE = re.compile(r"[^\w.]+")  # in the name of a run


def command_line(use_case: str, changes: Mapping[str, Any]) -> str:
    """Returns `finetune classify` or `finetune instruct` with flags for these dotted fields, as one would type it."""
    return " ".join((f"finetune {use_case} --recipe {BASE}", *(_flag(*change) for change in changes.items())))


def name_of(file: str) -> str:
    """Returns what a run on a file or an address may be called."""
    stem = re.sub(r"[?#].*", "", file).rstrip("/").rpartition("/")[2].partition(".")[0]
    return UNSUITABLE.sub("-", stem).strip("-") or "mine"


def write_recipe(file: Path, use_case: str, changes: Mapping[str, Any]) -> None:
    """Writes the recipe that the command line stands for: only fields that differ from the defaults.

    Raises RecipeError if the file exists or cannot be written.
    """
    from lib.recipes.fields import recipe_fields, value_at
    from lib.recipes.reading import load_recipe

    model = _model(use_case)
    recipe = load_recipe(BASE, changes, folder=use_case, model=model).model_dump(mode="json")
    different: dict[str, Any] = {}
    for field in recipe_fields(model):
        value = value_at(recipe, field.path)
        if value != field.default and field.path != "registry.name":
            *groups, last = field.path.split(".")
            group = different
            for each in groups:
                group = group.setdefault(each, {})
            group[last] = value
    try:
        with file.open("x", encoding="utf-8") as out:
            yaml.safe_dump(different, out, sort_keys=False, allow_unicode=True)
    except FileExistsError:
        raise RecipeError(f"{file} exists: give --recipe another name, or remove it") from None
    except OSError as error:
        raise RecipeError(f"{file} cannot be written ({error.strerror}): give --recipe another name") from None


def _model(use_case: str) -> Any:
    if use_case == "classify":
        from lib.recipes.classify import ClassifyRecipe

        return ClassifyRecipe
    from lib.recipes.instruct import InstructRecipe

    return InstructRecipe


def _flag(field: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return mapping_flag(field, value)
    return f"--{field} {shlex.quote(str(value))}"
