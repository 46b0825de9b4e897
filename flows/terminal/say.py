"""Prints lines: what comes from data, names and servers is shown, and never obeyed by a terminal."""

from __future__ import annotations

import json
from typing import IO, Any

from lib.visible import visible


def say(what: object, *, lines: bool = False, file: IO[str] | None = None) -> None:
    """Prints one line, or with `lines` several, to standard output or at once to a file."""
    print(visible(f"{what}", lines=lines), file=file, flush=file is not None)


def say_json(value: Any) -> None:
    """Prints a value as JSON on one line: characters as they are, but for those that a terminal would obey."""
    say(json.dumps(value, ensure_ascii=False))
