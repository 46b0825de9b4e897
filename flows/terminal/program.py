"""What the command line must know of a flow, and how a command reads its own arguments.

Each flow's module fills in a `Program` and hands it to `flows.terminal.command_line.main`. What a program does with its
arguments is not here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

from lib.errors import MessagesError, RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import load_recipe
from lib.store.artifacts import Artifact

Recipe = TypeVar("Recipe", ClassifyRecipe, InstructRecipe)

Artifacts = Mapping[str, Artifact]  # by the name of the step that made each
Fact = tuple[str, str]  # what a run's table says of it: a name, and a value in words
Command = Callable[[Sequence[str]], int]  # from the arguments behind its name to the exit status


@dataclass(frozen=True)
class Program(Generic[Recipe]):
    """A flow, as its command line runs, explains and describes it."""

    module: str  # what stands after `python -m`
    description: str  # the first sentence of --help
    model: type[Recipe]  # whose fields are the flags
    folder: str  # in recipes/, with the recipes that go by a name; `book` is the published procedure
    flow: Callable[[Recipe], dict[str, Any]]  # what it returns is a `flows.terminal.display.Result` as JSON
    steps: Callable[..., Any]  # the list of steps, called with `tasks.engine.runner.Explainer`
    trains: str  # the step whose training `--log-format book` prints, also when it is reused
    facts: Callable[[Artifacts, Mapping[str, float], Recipe], Iterator[Fact]]  # from artifacts and final metrics
    commands: Mapping[str, Command] = field(default_factory=dict)  # by the first argument; --help has their docstrings
    default_recipe: str = "quickstart"

    def recipe(self, name: str, overrides: Mapping[str, str] | None = None) -> Recipe:
        """The recipe of this name or file, with dotted overrides; raises RecipeError with one sentence."""
        return load_recipe(name, overrides, folder=self.folder, model=self.model)


class Parser(argparse.ArgumentParser):
    """argparse, but what is wrong with the arguments is raised as one sentence, a RecipeError."""

    def error(self, message: str) -> NoReturn:
        """Raises RecipeError."""
        raise RecipeError(f"{message}; --help shows what there is")


def standard_input_lines() -> list[str]:
    """The lines of standard input, each a text; raises MessagesError if there are none, or if they are not UTF-8."""
    try:
        lines = [line.rstrip("\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise MessagesError(f"standard input is not UTF-8 text ({error.reason}): convert it first") from None
    if not lines:
        raise MessagesError("standard input is empty: write one text a line")
    return lines
