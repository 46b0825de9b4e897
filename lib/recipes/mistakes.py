"""Writes errors about recipes: unknown names, unknown fields, wrong values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from lib.errors import listed
from lib.recipes.fields import either, recipe_fields, section_names, value_at
from lib.secrets import public_values

LONGEST_SHOWN = 60  # characters of a value or a name
MOST_FINDINGS = 5  # in one error
HALVES = "string_unicode"  # pydantic's word for half a character, as Python has it in place of bytes that are none


def unknown_recipe(name: str, known: Sequence[str]) -> str:
    """Returns the error for a name that is no bundled recipe and no file, with the nearest of the `known` names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}?" if near else f"name one of {listed(known)}, or give the path of a YAML file"
    return f"there is no recipe {shown(name)}: {hint}"


def unknown_field(path: str, *, flag: bool = False, also: Sequence[str] = (), model: type[BaseModel]) -> str:
    """Returns the error for a field or command-line flag that `model` does not have, with the nearest one. `also`: the
    command line's flags that are not fields."""
    kind, dashes = ("flag", "--") if flag else ("field", "")
    sections = section_names(model)
    if path in sections:
        first = next(field.path for field in recipe_fields(model) if field.path.startswith(f"{path}."))
        return f"{dashes}{path} is a group of fields: name one of them, such as {dashes}{first}"
    parent = path.rpartition(".")[0]
    if "." in parent and parent in sections:  # a group inside a group has few fields
        near = [field.path for field in recipe_fields(model) if field.path.startswith(f"{parent}.")]
    else:
        near = _nearest(path, [*(field.path for field in recipe_fields(model)), *sections, *also])
    hint = f"did you mean {either([dashes + name for name in near])}?" if near else "--help lists all of them"
    return f"there is no {kind} {dashes}{shortened(path)}: {hint}"


def _nearest(path: str, known: Sequence[str]) -> list[str]:
    """Guesses the intended field: the path with a typo, or its last part, perhaps with a typo, in another section."""
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    if near:
        return near
    by_name: dict[str, list[str]] = {}
    for candidate in known:
        by_name.setdefault(candidate.rpartition(".")[2], []).append(candidate)
    names = difflib.get_close_matches(path.rpartition(".")[2], by_name, n=1, cutoff=0.6)
    return by_name[names[0]] if names else []


def refusal(
    error: ValidationError, values: Mapping[str, Any], overridden: Iterable[str], origin: str, model: type[BaseModel]
) -> str:
    """Turns pydantic's findings into one sentence: each field once, its value, and what it must be. `overridden`: the
    fields that a command line set; `origin` names the source of the others."""
    flags = {path: f"--{path}" for path in overridden}
    kinds = {field.path: field.kind for field in recipe_fields(model)}
    findings: dict[str, str] = {}
    for finding in error.errors():
        path = _path(finding["loc"], model)
        if finding["type"] == "extra_forbidden":
            findings[path] = unknown_field(path, model=model)
        elif finding["type"] == "value_error":
            said = str(finding["ctx"]["error"])
            of_field = path in kinds and path not in said  # what a type refuses does not know whose it is
            findings[path] = f"{flags.get(path, path)}: {said}" if of_field else said
        else:
            kind = "text in whole characters" if finding["type"] == HALVES else kinds.get(path, "a group of fields")
            findings[path] = f"{flags.get(path, path)} is {shown(_given(values, path, finding))}, but must be {kind}"
    told = list(findings.values())[:MOST_FINDINGS]
    if len(findings) > MOST_FINDINGS:
        told.append(f"and {len(findings) - MOST_FINDINGS} more")
    where = "" if findings.keys() <= flags.keys() else f"{origin}: "
    return where + "; ".join(told)


def _given(values: Mapping[str, Any], path: str, finding: Any) -> Any:
    """Returns the value that is wrong: as it was written, or where nothing was, what it was filled with."""
    try:
        return value_at(values, path)
    except LookupError:
        return finding["input"]


def _path(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Returns the field or section at a location ("": the whole recipe), without parts that union members append."""
    parts, groups = [str(part) for part in location], section_names(model)
    depth = 1
    while depth < len(parts) and ".".join(parts[:depth]) in groups:
        depth += 1
    return ".".join(parts[:depth])


def shown(value: Any) -> str:
    """Formats a value on one line, as in a recipe, without the secrets of its addresses."""
    value = public_values(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(shortened(value))
    return shortened(" ".join(str(value).split()))


def shortened(text: str) -> str:
    """Returns the text, or as much of its beginning as an error shows."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
