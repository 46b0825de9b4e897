"""Reads recipes: a bundled one by name or a YAML file by path, with overrides from a command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lib.errors import RecipeError
from lib.files.yaml_text import MOST_CHARACTERS, YamlError, parse_yaml
from lib.recipes.fields import LIST, MAPPING, RecipeField, recipe_fields, section_names, unnamed_fields
from lib.recipes.mistakes import refusal, shown, unknown_field, unknown_recipe
from lib.recipes.sections import Section, says_its_shape

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

OF_THE_WEIGHTS = ("size", "revision")  # what a recipe says of its weights, and not of others

AnyRecipe = TypeVar("AnyRecipe", bound=Section)


def bundled_recipes(folder: str) -> dict[str, Path]:
    """Returns the files in `recipes/<folder>` by recipe name."""
    return {file.stem: file for file in sorted((RECIPES / folder).glob("*.yaml"))}


def load_recipe(
    name: str, overrides: Mapping[str, Any] | None = None, *, folder: str, model: type[AnyRecipe]
) -> AnyRecipe:
    """Loads the recipe `name` from `recipes/<folder>`, or from the YAML file at that path, with overrides.

    `overrides` maps dotted fields to values; a string is parsed as on a command line: `null`, `[a, b]` or plain text,
    and for a group of fields `{field: value}`. `model` defines the fields. A file without `name` is named after its
    stem. Other weights than the recipe's need no `model.size`: its size and revision are those of its own weights.
    Raises RecipeError with one sentence that names the file and the field.
    """
    file = _find(name, folder)
    origin = f"recipe {name}" if file.stem == name else str(file)
    return build_recipe({"name": file.stem, **_read_file(file)}, overrides, origin=origin, model=model)


def build_recipe(
    values: Mapping[Any, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    origin: str = "the recipe",
    model: type[AnyRecipe],
) -> AnyRecipe:
    """Returns a checked recipe from nested values and dotted overrides; `origin` names the values in errors."""
    merged = _copied(values)
    unnamed = unnamed_fields(model)
    for section in section_names(model):
        _fill_group(merged, section, unnamed.get(section))
    fields = {field.path: field for field in recipe_fields(model)}
    overrides = {unnamed.get(path, path): value for path, value in _leaves(overrides or {}, section_names(model))}
    if says_its_shape(overrides.get("model.weights")) and isinstance(backbone := _group(merged, "model"), dict):
        for name in OF_THE_WEIGHTS:
            backbone.pop(name, None)
    for path, text in overrides.items():
        if path not in fields:
            raise RecipeError(unknown_field(path, flag=True, model=model))
        section, _, name = path.rpartition(".")
        target = _group(merged, section)
        if isinstance(target, dict):  # anything else is refused below
            target[name] = _typed(text, fields[path])
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise RecipeError(refusal(error, merged, overrides, origin, model)) from None


def _copied(value: Any) -> Any:
    """Copies nested values; names become text."""
    return {str(name): _copied(leaf) for name, leaf in value.items()} if isinstance(value, Mapping) else value


def _group(values: Any, path: str) -> Any:
    """Returns what stands at a dotted path of groups (""; the whole); None where that is inside something else."""
    for name in filter(None, path.split(".")):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _fill_group(values: dict[str, Any], path: str, unnamed: str | None) -> None:
    """Puts an empty group where there is none, or where all of its lines are commented out; and a value that is written
    instead of a group into its field `unnamed`."""
    parent, _, name = path.rpartition(".")
    holder = _group(values, parent)
    if not isinstance(holder, dict):
        return
    if holder.get(name) is None:
        holder[name] = {}
    elif unnamed is not None and isinstance(holder[name], str | list | tuple):
        holder[name] = {unnamed.rpartition(".")[2]: holder[name]}


def _leaves(overrides: Mapping[str, Any], groups: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yields dotted fields with their values, those of a group that is written as `{field: value}` one by one."""
    for path, value in overrides.items():
        inside = value
        if path in groups and isinstance(value, str) and value.startswith("{"):
            inside = read_yaml(value, f"--{path}")
        if path in groups and isinstance(inside, Mapping):
            yield from _leaves({f"{path}.{name}": leaf for name, leaf in inside.items()}, groups)
        else:
            yield path, value


def _typed(text: Any, field: RecipeField) -> Any:
    """Parses a value from a command line. Numbers stay text for the field's own type; quotes say that a value is text,
    such as a label that is called "null"."""
    if not isinstance(text, str):
        return text
    if text == "null":
        return None
    begins = {
        "[": LIST in field.kind,  # a file may be called "[a].csv"
        "{": field.kind.startswith(MAPPING),
        '"': text.endswith('"'),
        "'": text.endswith("'"),
    }
    if begins.get(text[:1]):
        with suppress(YamlError):
            return parse_yaml(text)
    return text


def _find(name: str, folder: str) -> Path:
    bundled = bundled_recipes(folder)
    if name in bundled:
        return bundled[name]
    with suppress(OSError, RuntimeError):  # a name that is too long; an unknown ~user
        path = Path(name).expanduser()
        if path.is_file():
            return path
    raise RecipeError(unknown_recipe(name, list(bundled)))


def _read_file(file: Path) -> Mapping[Any, Any]:
    try:
        with file.open(encoding="utf-8") as source:  # which may have no end
            return read_yaml(source.read(MOST_CHARACTERS + 1), str(file))
    except OSError as error:
        raise RecipeError(f"{file} cannot be read ({error.strerror}): give another file, or allow reading it") from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{file} is not UTF-8 text: byte {error.start} (counted from 0) is not; save it as UTF-8"
        ) from None


def read_yaml(text: str, origin: str) -> Mapping[Any, Any]:
    """Parses a text's fields; raises RecipeError with one sentence that names `origin`."""
    try:
        values = parse_yaml(text)
    except YamlError as error:
        raise RecipeError(_not_yaml(origin, error)) from None
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise RecipeError(f"{origin} holds {shown(values)}, but must hold groups of fields, such as 'training:'")
    return values


def _not_yaml(origin: str, error: YamlError) -> str:
    place = f", line {error.line}" if error.line else ""
    return f"{origin}{place} is not valid YAML: {error}"
