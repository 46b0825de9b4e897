"""Print what a shell needs to complete commands, flags and recipes: `finetune completion bash` or `zsh`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from flows.__main__ import DOORS
from flows.terminal.exits import exit_status_of
from flows.terminal.program import Parser
from lib.recipes.reading import bundled_recipes

SHELLS = ("bash", "zsh")
TO_A_FILE = {"bash": "~/.local/share/bash-completion/completions/finetune", "zsh": "a file _finetune in your $fpath"}


def parser() -> Parser:
    """The shell."""
    parser = Parser(prog="finetune completion", description=__doc__, allow_abbrev=False)
    where = "; ".join(f"{shell}: {place}" for shell, place in TO_A_FILE.items())
    parser.add_argument("shell", choices=SHELLS, help=f"whose script to print; write it to {where}")
    return parser


def main(argv: Sequence[str]) -> int:
    """Prints the script; returns the exit status."""
    return exit_status_of(lambda: _print(argv))


def _print(argv: Sequence[str]) -> int:
    shell = parser().parse_args(argv).shell
    import shtab

    print(shtab.complete(whole(), shell=shell))  # noqa: T201 - this is the program's output
    return 0


def whole() -> Parser:
    """A parser of all commands with all of their flags."""
    program = Parser(prog="finetune")
    commands = program.add_subparsers()
    for name, door in DOORS.items():
        module, _, function = (door.parser or f"{door.module}:parser").partition(":")
        made = getattr(import_module(module), function)()
        for action in made._actions:
            if action.dest == "recipe":
                action.choices = list(bundled_recipes(name))  # completed only: a file is no less a recipe
        commands.add_parser(name, help=door.about, parents=[made], add_help=False)
    return program


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
