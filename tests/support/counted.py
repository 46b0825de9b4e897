"""Runs a command and says how often it called a function: `python -m tests.support.counted FUNCTION MODULE ARGUMENT`.

FUNCTION is `module:function`, looked up there at each call. The number is the last line on standard error.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from typing import Any

COUNTED = "counted calls: "


def calls_counted(said: str) -> int:
    """The number that a command has said."""
    return int(said.splitlines()[-1].removeprefix(COUNTED))


def main(place: str, *command: str) -> None:
    """Becomes the command."""
    import tasks  # noqa: F401 - before anything that imports Prefect or MLflow

    module, _, name = place.partition(":")
    owner, calls = importlib.import_module(module), 0
    function = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return function(*arguments, **named)

    setattr(owner, name, call)
    sys.argv = [*command]
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    finally:
        sys.stderr.write(f"{COUNTED}{calls}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
