"""Describes a recipe's fields in words for errors, the command line and the docs."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from lib.recipes.sections import PATTERNS, Described

LIST = "a list of "
MAPPING = "{"  # how the description of a mapping begins


@dataclass(frozen=True)
class RecipeField:
    """One leaf field of a recipe."""

    path: str  # dotted
    kind: str  # what a value must be: "a whole number of at least 1", "auto, cpu or cuda"
    default: Any
    description: str


@cache
def recipe_fields(model: type[BaseModel], prefix: str = "") -> tuple[RecipeField, ...]:
    """Returns every leaf field of `model`, in order."""
    return tuple(_fields(model, prefix))


def section_names(model: type[BaseModel]) -> list[str]:
    """Returns the groups of fields that `model` has, dotted, in order, each before the groups inside it."""
    groups: dict[str, None] = {}
    for field in recipe_fields(model):
        *parents, _ = field.path.split(".")
        groups |= dict.fromkeys(".".join(parents[: depth + 1]) for depth in range(len(parents)))
    return list(groups)


def unnamed_fields(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Returns the groups of fields that may be written as one value, dotted, and the field of each that gets it."""
    found: dict[str, str] = {}
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            path = f"{prefix}{name}"
            if unnamed := getattr(info.annotation, "unnamed", None):
                found[path] = f"{path}.{unnamed}"
            found |= unnamed_fields(info.annotation, f"{path}.")
    return found


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """Returns the value at a dotted path of nested values; raises KeyError if there is none."""
    value: Any = values
    for part in path.split("."):
        value = value[part]
    return value


def either(alternatives: Sequence[str]) -> str:
    """Joins alternatives in words: "a, b or c"."""
    *others, last = alternatives
    return f"{', '.join(others)} or {last}" if others else last


def _fields(model: type[BaseModel], prefix: str) -> Iterator[RecipeField]:
    for name, info in model.model_fields.items():
        path, annotation = f"{prefix}{name}", info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from recipe_fields(annotation, f"{path}.")
            continue
        described = next((each.kind for each in info.metadata if isinstance(each, Described)), None)
        yield RecipeField(
            path=path,
            kind=described or either(_kinds(annotation, _limits(info.metadata))),
            default=info.get_default(call_default_factory=True),
            description=info.description or "",
        )


def _kinds(annotation: Any, limits: Mapping[str, Any]) -> list[str]:
    """Describes each alternative that a type allows."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [str(choice) for choice in parts]
    if origin in (Union, types.UnionType):
        return [kind for part in parts for kind in _kinds(part, limits)]
    if origin is Annotated:
        return _kinds(parts[0], _limits([limit for info in parts[1:] for limit in getattr(info, "metadata", ())]))
    if origin is tuple:
        return [_kind_of_list(parts)]
    if annotation is str:
        return [PATTERNS[limits["pattern"]] if "pattern" in limits else "text (not empty)" if limits else "text"]
    if annotation in (int, float):
        words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
        bounds = " and ".join(f"{words[name]} {limit}" for name, limit in limits.items() if name in words)
        return [f"{'a whole number' if annotation is int else 'a number'} {bounds}".rstrip()]
    return {bool: ["true", "false"], types.NoneType: ["null"]}[annotation]


def _kind_of_list(parts: tuple[Any, ...]) -> str:
    """Describes a list of any length (the type's second part is an ellipsis), or with a type for each place."""
    if parts[1] is not ...:
        return f"{LIST}{len(parts)}, each {either(_kinds(parts[0], {}))}"
    choices = get_origin(parts[0]) is Literal
    return f"{LIST}any of {', '.join(get_args(parts[0]))}" if choices else f"{LIST}texts"


def _limits(metadata: Sequence[Any]) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt", "min_length", "pattern")
    return {name: value for item in metadata for name in names if (value := getattr(item, name, None)) is not None}
