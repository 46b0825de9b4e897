"""What the command line must know of a use case, and how a command reads its arguments."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from lib.errors import MessagesError, RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import load_recipe
from tasks.environment import MLFLOW_PORT, PREFECT_PORT

if TYPE_CHECKING:
    from flows.use_cases.use_case import UseCase

Recipe = TypeVar("Recipe", ClassifyRecipe, InstructRecipe)
SHOWN = "--help shows what there is"
Command = Callable[[Sequence[str]], int]  # from the arguments behind its name to the exit status


def run_flow(use_case: UseCase, recipe: Any) -> dict[str, Any]:
    """Runs the use case's flow; returns a `flows.run.result.Result` as JSON."""
    from flows.run.recorded import flow_of

    return flow_of(use_case)(recipe)


@dataclass(frozen=True)
class Program(Generic[Recipe]):
    """A use case, as its command line reads, runs and explains it."""

    name: str  # of the use case: its door, and the folder of its recipes; `book` is the published procedure
    description: str  # the first sentence of --help
    model: type[Recipe]  # whose fields are the flags
    use_case: Callable[[], UseCase]  # asked only where flags alone do not do: it imports what steps need
    commands: Mapping[str, Command] = field(default_factory=dict)  # by the first argument; --help has their docstrings
    default_recipe: str = "quickstart"
    run: Callable[[UseCase, Any], dict[str, Any]] = run_flow

    def recipe(self, name: str, overrides: Mapping[str, str] | None = None) -> Recipe:
        """The recipe of this name or file, with dotted overrides; raises RecipeError with one sentence."""
        return load_recipe(name, overrides, folder=self.name, model=self.model)


class Parser(argparse.ArgumentParser):
    """argparse, but what is wrong with the arguments is raised as one sentence, a RecipeError."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Returns the arguments; raises RecipeError, which names the flag that is most like an unknown one."""
        options, unknown = self.parse_known_args(args, namespace)
        for flag in (argument.partition("=")[0] for argument in unknown if argument.startswith("-")):
            near = difflib.get_close_matches(flag, list(self._flags()), n=1, cutoff=0.7)
            raise RecipeError(f"there is no flag {flag}: {f'did you mean {near[0]}?' if near else SHOWN}")
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options

    def _flags(self) -> Iterator[str]:
        """Yields the flags, those of commands below included."""
        yield from self._option_string_actions
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    yield from parser._flags()

    def error(self, message: str) -> NoReturn:
        """Raises RecipeError."""
        raise RecipeError(f"{message}; {SHOWN}")


def port(text: str) -> int:
    """A port as typed on a command line."""
    if not text.isdecimal() or not 0 < (number := int(text)) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port: choose one from 1 to {2**16 - 1}")
    return number


def add_ports(parser: Parser) -> Parser:
    """Adds the flags for where servers that are started listen; returns the parser."""
    parser.add_argument("--prefect-port", type=port, default=PREFECT_PORT, help=f"default: {PREFECT_PORT}")
    parser.add_argument("--mlflow-port", type=port, default=MLFLOW_PORT, help=f"default: {MLFLOW_PORT}")
    return parser


def standard_input_lines() -> list[str]:
    """The lines of standard input, each a text; raises MessagesError if there are none, or if they are not UTF-8."""
    try:
        lines = [line.rstrip("\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise MessagesError(f"standard input is not UTF-8 text ({error.reason}): convert it first") from None
    if not lines:
        raise MessagesError("standard input is empty: write one text a line")
    return lines
