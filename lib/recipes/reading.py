"""Recipes from YAML files and command lines, and what is said about a field that is wrong or unknown.

Here belong reading, overriding, and every sentence about a recipe that names a single field. The fields themselves,
and what contradicts what, are in `lib.recipes.classify`.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, overload

import yaml
from pydantic import BaseModel, ValidationError

from lib.errors import RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.sections import PATTERNS, Section

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
LONGEST_SHOWN = 60  # characters of a value or a name that an error shows
LIST = "a list of "
MOST_FINDINGS = 5  # that one error tells

AnyRecipe = TypeVar("AnyRecipe", bound=Section)


# -- the fields, in words -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecipeField:
    """One leaf field, as errors, the command line and the docs show it."""

    path: str  # dotted
    kind: str  # what a value must be: "a whole number of at least 1", "auto, cpu or cuda"
    default: Any
    description: str


@cache
def recipe_fields(model: type[BaseModel] = ClassifyRecipe, prefix: str = "") -> tuple[RecipeField, ...]:
    """Every leaf field of `model`, in the order in which it is written."""
    return tuple(_fields(model, prefix))


def _fields(model: type[BaseModel], prefix: str) -> Iterator[RecipeField]:
    for name, info in model.model_fields.items():
        path, annotation = f"{prefix}{name}", info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from recipe_fields(annotation, f"{path}.")
            continue
        yield RecipeField(
            path=path,
            kind=_either(_kinds(annotation, _limits(info.metadata))),
            default=info.get_default(call_default_factory=True),
            description=info.description or "",
        )


def _kinds(annotation: Any, limits: Mapping[str, Any]) -> list[str]:
    """The alternatives that a type allows, each in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [str(choice) for choice in parts]
    if origin in (Union, types.UnionType):
        return [kind for part in parts for kind in _kinds(part, limits)]
    if origin is Annotated:
        return _kinds(parts[0], _limits([limit for info in parts[1:] for limit in info.metadata]))
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
    """A list of any length (the type's second part is an ellipsis), or with a type for each place."""
    if parts[1] is not ...:
        return f"{LIST}{len(parts)}, each {_either(_kinds(parts[0], {}))}"
    choices = get_origin(parts[0]) is Literal
    return f"{LIST}any of {', '.join(get_args(parts[0]))}" if choices else f"{LIST}texts"


def _limits(metadata: Sequence[Any]) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt", "min_length", "pattern")
    return {name: value for item in metadata for name in names if (value := getattr(item, name, None)) is not None}


def _either(alternatives: Sequence[str]) -> str:
    *others, last = alternatives
    return f"{', '.join(others)} or {last}" if others else last


def unknown_field(
    path: str, *, flag: bool = False, also: Sequence[str] = (), model: type[Section] = ClassifyRecipe
) -> str:
    """The sentence for a field, or a command line's flag, that there is not, with the nearest one that there is.

    `also`: the command line's flags that are no fields.
    """
    kind, dashes = ("flag", "--") if flag else ("field", "")
    sections = _sections(model)
    if path in sections:
        first = next(field.path for field in recipe_fields(model) if field.path.startswith(f"{path}."))
        return f"{dashes}{path} is a group of fields: name one of them, such as {dashes}{first}"
    near = _nearest(path, [*(field.path for field in recipe_fields(model)), *sections, *also])
    hint = f"did you mean {_either([dashes + name for name in near])}?" if near else "--help lists all of them"
    return f"there is no {kind} {dashes}{_shortened(path)}: {hint}"


def _nearest(path: str, known: Sequence[str]) -> list[str]:
    """What was meant: the path with a slip, or its last part in another section, or that with a slip."""
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    if near:
        return near
    by_name: dict[str, list[str]] = {}
    for candidate in known:
        by_name.setdefault(candidate.rpartition(".")[2], []).append(candidate)
    names = difflib.get_close_matches(path.rpartition(".")[2], by_name, n=1, cutoff=0.6)
    return by_name[names[0]] if names else []


def _sections(model: type[Section]) -> list[str]:
    return list(dict.fromkeys(field.path.partition(".")[0] for field in recipe_fields(model) if "." in field.path))


# -- reading --------------------------------------------------------------------------------------------------


@overload
def load_recipe(
    name: str, overrides: Mapping[str, str] | None = None, *, folder: str = "classify"
) -> ClassifyRecipe: ...
@overload
def load_recipe(
    name: str, overrides: Mapping[str, str] | None = None, *, folder: str, model: type[AnyRecipe]
) -> AnyRecipe: ...
def load_recipe(
    name: str,
    overrides: Mapping[str, str] | None = None,
    *,
    folder: str = "classify",
    model: type[Section] = ClassifyRecipe,
) -> Section:
    """The recipe called `name` in `recipes/<folder>`, or in the YAML file at that path, with overrides.

    `overrides` maps dotted fields to values as typed on a command line: `null`, `[a, b]` or plain text; `model` says
    which fields there are. Raises RecipeError with one sentence that names the file and the field.
    """
    file = _find(name, folder)
    origin = f"recipe {name}" if file.stem == name else str(file)
    return build_recipe(_read_yaml(file), overrides, origin=origin, model=model)


@overload
def build_recipe(
    values: Mapping[Any, Any], overrides: Mapping[str, str] | None = None, *, origin: str = "the recipe"
) -> ClassifyRecipe: ...
@overload
def build_recipe(
    values: Mapping[Any, Any],
    overrides: Mapping[str, str] | None = None,
    *,
    origin: str = "the recipe",
    model: type[AnyRecipe],
) -> AnyRecipe: ...
def build_recipe(
    values: Mapping[Any, Any],
    overrides: Mapping[str, str] | None = None,
    *,
    origin: str = "the recipe",
    model: type[Section] = ClassifyRecipe,
) -> Section:
    """A checked recipe from nested values and dotted overrides; `origin` is what an error calls the values."""
    merged = {str(name): _section(value) for name, value in values.items()}
    for section in _sections(model):
        if merged.get(section) is None:  # not there, or all of its lines are commented out
            merged[section] = {}
    fields = {field.path: field for field in recipe_fields(model)}
    overrides = overrides or {}
    for path, text in overrides.items():
        if path not in fields:
            raise RecipeError(unknown_field(path, flag=True, model=model))
        section, _, name = path.rpartition(".")
        target = merged[section] if section else merged
        if isinstance(target, dict):  # what is no section is refused below
            target[name] = _typed(text, fields[path])
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise RecipeError(_sentence(error, merged, overrides, origin, model)) from None


def _section(value: Any) -> Any:
    return {str(name): leaf for name, leaf in value.items()} if isinstance(value, Mapping) else value


def _typed(text: str, field: RecipeField) -> Any:
    """A value as typed on a command line. Numbers stay text: the field's own type reads them."""
    if text == "null":
        return None
    if LIST in field.kind and text.startswith("["):
        with suppress(yaml.YAMLError):  # a file may be called "[a].csv"
            return yaml.safe_load(text)
    return text


def _find(name: str, folder: str) -> Path:
    bundled = sorted((RECIPES / folder).glob("*.yaml"))
    for file in bundled:
        if file.stem == name:
            return file
    with suppress(OSError, RuntimeError):  # longer than a name can be; ~somebody who is not there
        path = Path(name).expanduser()
        if path.is_file():
            return path
    names = _either([file.stem for file in bundled])
    raise RecipeError(f"there is no recipe {_shown(name)}: name {names}, or give the path of a YAML file")


class _Loader(yaml.SafeLoader):
    """YAML as it is specified: a key that stands twice in a mapping is a mistake."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The node, if its keys differ."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{_shortened(key.value)} stands there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The node's value, if it has one: `2020-13-45` looks like a date, and is none."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:  # whatever made it stumble
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                problem=f"{_shortened(str(node.value))} is no {kind}: correct it, or put it in quotes",
                problem_mark=node.start_mark,
            ) from error


# YAML 1.1, which PyYAML reads, has yes, no, on and off for switches as well; to a recipe `off` is a word.
_SWITCH = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _SWITCH]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_SWITCH, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _read_yaml(file: Path) -> Mapping[Any, Any]:
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise RecipeError(f"{file} cannot be read ({error.strerror}): give another file, or allow reading it") from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{file} is not UTF-8 text: byte {error.start} (counted from 0) is not; save it as UTF-8"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise RecipeError(f"{file}{place} is not valid YAML: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise RecipeError(f"{file} holds {_shown(values)}, but must hold groups of fields, such as 'training:'")
    return values


# -- what is wrong --------------------------------------------------------------------------------------------


def _sentence(
    error: ValidationError,
    values: Mapping[str, Any],
    overrides: Mapping[str, str],
    origin: str,
    model: type[Section],
) -> str:
    """pydantic's findings as one sentence: each field once, with what was given and what it must be."""
    findings: dict[str, str] = {}
    for finding in error.errors():
        path = _path(finding["loc"], model)
        if finding["type"] == "extra_forbidden":
            findings[path] = unknown_field(path, model=model)
        elif finding["type"] == "value_error":
            findings[path] = str(finding["ctx"]["error"])
        else:
            findings[path] = _must_be(path, values, overrides, model)
    shown = list(findings.values())[:MOST_FINDINGS]
    if len(findings) > MOST_FINDINGS:
        shown.append(f"and {len(findings) - MOST_FINDINGS} more")
    where = "" if all(path in overrides for path in findings) else f"{origin}: "
    return where + "; ".join(shown)


def _path(location: tuple[int | str, ...], model: type[Section]) -> str:
    """The field or section at a place in the values ("": the recipe as a whole); a union's members add parts of their
    own behind it."""
    parts = [str(part) for part in location]
    return ".".join(parts[:2] if parts[:1] and parts[0] in _sections(model) else parts[:1])


def _must_be(path: str, values: Mapping[str, Any], overrides: Mapping[str, str], model: type[Section]) -> str:
    given: Any = values
    for part in path.split("."):
        given = given[part]
    kinds = {field.path: field.kind for field in recipe_fields(model)}
    name = f"--{path}" if path in overrides else path
    return f"{name} is {_shown(given)}, but must be {kinds.get(path, 'a group of fields')}"


def _shown(value: Any) -> str:
    """A value as a recipe would write it, in one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(_shortened(value))
    return _shortened(" ".join(str(value).split()))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
