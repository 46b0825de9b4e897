"""The program `finetune`: a door for each thing that it does. `finetune --help` lists them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from flows.terminal.exits import exit_status_of
from lib.errors import RecipeError
from lib.processes.stopping import ended_at_once


class Door(NamedTuple):
    """Where a command is; its module is imported when it is needed."""

    module: str  # whose `main` takes the arguments
    about: str  # one line of help
    before: tuple[str, ...] = ()  # arguments that come before those of the user
    parser: str = ""  # `module:function` that makes its parser, where that is not the module's own `parser`


PREDICT, CHAMPION = "flows.terminal.predict", "flows.terminal.champion"
DOORS = {
    "classify": Door("flows.classify", "fine-tune, evaluate and register a text classifier"),
    "instruct": Door("flows.instruct", "teach a GPT to follow instructions, and have its answers judged"),
    "compare": Door("flows.compare", "compare recipes on validation, or search for a better one"),
    "predict": Door("flows.classify", "label texts with a classifier", ("predict",), f"{PREDICT}:predict_parser"),
    "answer": Door("flows.instruct", "answer instructions with a model", ("answer",), f"{PREDICT}:answer_parser"),
    "score": Door("flows.score", "score files with a classifier"),
    "serve": Door("flows.serve", "serve a classifier over HTTP"),
    "export": Door("flows.export", "write a model in a form that other programs read: Hugging Face's, or ONNX"),
    "push": Door("flows.push", "push a classifier to a Hugging Face hub"),
    "promote": Door(
        "flows.classify", "make a version of a classifier the champion", ("promote",), f"{CHAMPION}:promote_parser"
    ),
    "rollback": Door(
        "flows.classify", "make the champion before it the champion again", ("rollback",), f"{CHAMPION}:rollback_parser"
    ),
    "inspect": Door(
        "flows.inspect", "look at data before training: what it is, what is wrong with it, what trains on it"
    ),
    "store": Door("flows.store", "list, verify, prune and copy the artifacts that runs have made"),
    "deliver": Door("flows.deliver", "send MLflow what it does not have yet of earlier runs"),
    "ui": Door("flows.ui", "show Prefect's and MLflow's pages"),
    "up": Door("flows.up", "run both servers, a worker and the deployments"),
    "deploy": Door("flows.deploy", "register the deployments with Prefect's server"),
    "completion": Door("flows.completion", "print what bash or zsh needs to complete commands and flags"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Opens the door that the first argument names; returns the exit status."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(overview())  # noqa: T201 - this is the program's output
        return 0
    if name not in DOORS:
        return exit_status_of(lambda: _refuse(name))
    with ended_at_once():  # nothing has begun that could be left half done
        door = import_module(DOORS[name].module)
    status: int = door.main([*DOORS[name].before, *rest])
    return status


def overview() -> str:
    """Lists the commands."""
    commands = "\n".join(f"  {name:12}{door.about}" for name, door in DOORS.items())
    return f"usage: finetune COMMAND ...\n\ncommands, each with a --help of its own:\n{commands}"


def _refuse(name: str) -> int:
    near = difflib.get_close_matches(name, DOORS, n=1)
    hint = f"did you mean {near[0]}?" if near else "finetune --help lists all of them"
    raise RecipeError(f"there is no command {name!r}: {hint}")


if __name__ == "__main__":
    sys.exit(main())
