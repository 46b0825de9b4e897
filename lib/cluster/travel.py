"""Lets paths travel to other machines: what lies in a known folder is told by that folder's number, and found there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Moved:
    """A path below one of the folders that both machines know."""

    folder: int
    name: str


def packed(value: Any, folders: Sequence[Path]) -> Any:
    """Returns a value with all paths in it as Moved. Raises ValueError for a path in none of the folders."""
    return _changed(value, Path, lambda path: _moved(path, folders))


def unpacked(value: Any, place: Callable[[Moved], Path]) -> Any:
    """Returns a packed value with paths of this machine."""
    return _changed(value, Moved, place)


def _moved(path: Path, folders: Sequence[Path]) -> Moved:
    for number, folder in enumerate(folders):
        if path.is_relative_to(folder):
            return Moved(number, path.relative_to(folder).as_posix())
    raise ValueError(f"{path} is in none of the folders that a worker knows")


def _changed(value: Any, kind: type[Any], change: Callable[[Any], Any]) -> Any:
    """Returns a value of plain values with each one of a kind changed."""
    if isinstance(value, kind):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        values = {field.name: getattr(value, field.name) for field in fields(value)}
        return type(value)(**{name: _changed(each, kind, change) for name, each in values.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_changed(each, kind, change) for each in value))
    if isinstance(value, list | tuple):
        return type(value)(_changed(each, kind, change) for each in value)
    if isinstance(value, Mapping):
        return {name: _changed(each, kind, change) for name, each in value.items()}
    return value
