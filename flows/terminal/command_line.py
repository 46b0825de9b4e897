"""The command line of a flow: flags from the recipe's fields, one sentence for every error a user can cause."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Command, Parser, Program, Recipe
from lib.errors import RecipeError
from lib.recipes.fields import RecipeField, recipe_fields, section_names, unnamed_fields, value_at
from lib.recipes.mistakes import unknown_field
from lib.training.distributed.launched import Launched, follow, launched, leading, require_processes
from lib.visible import visible
from tasks.environment import home

OPTIONS = ("recipe", "explain", "json", "log-format", "help")  # the flags that are no fields
FLAGS = "[--recipe NAME] [--FIELD VALUE ...] [--explain] [--json] [--log-format book]"


def main(argv: Sequence[str], program: Program[Recipe]) -> int:
    """Runs what the arguments ask for; returns the exit status. Of processes that a launcher started together, the
    first one does; the others take part in its training."""
    start = launched()
    return exit_status_of(
        lambda: _do(argv, program) if start is None else _do_together(argv, program, start),
        kept="finished steps and the last checkpoint are kept, and the same command goes on from there",
    )


def _do(argv: Sequence[str], program: Program[Recipe], start: Launched | None = None) -> int:
    if argv and argv[0] in program.commands:
        return program.commands[argv[0]](argv[1:])
    options, recipe = parse(argv, program)
    if start is not None:
        require_processes(recipe.training.processes, start)
    announce(f"finetune {program.name}: recipe {recipe.name}; everything lies in {home()}")
    from flows.terminal.runs import explain, run  # here, because a mistake shows before what a run needs is imported

    if options.explain:
        return explain(recipe, program, as_json=options.json)
    return run(recipe, program, as_json=options.json, log_format=options.log_format)


def _do_together(argv: Sequence[str], program: Program[Recipe], start: Launched) -> int:
    if start.rank > 0:
        follow(start)
        return 0
    with leading(start):
        return _do(argv, program, start)


def parser(program: Program[Recipe]) -> Parser:
    """Reads the flags that are no fields; a `Parser` of all is `with_fields`."""
    parser = Parser(usage=_usage(program), description=program.description, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this, with the values of the recipe")
    about_recipe = f"a recipe's name in recipes/{program.name}, or a YAML file (default: {program.default_recipe})"
    parser.add_argument("--recipe", default=program.default_recipe, metavar="NAME", help=about_recipe)
    parser.add_argument("--explain", action="store_true", help="say for each step why it would run; run nothing")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    parser.add_argument(
        "--log-format",
        choices=("bars", "book"),
        default="bars",
        metavar="FORMAT",
        help="what a run shows of its training: progress bars, or the published procedure's lines (book), which go to"
        " standard output, with --json to standard error",
    )
    return parser


def with_fields(program: Program[Recipe], recipe: Recipe) -> Parser:
    """Lists everything that the command line takes, with the values of a recipe: for --help and completion."""
    whole = parser(program)
    if program.commands:
        _add_commands(whole, program.commands)
    _add_fields(whole, recipe)
    return whole


def parse(argv: Sequence[str], program: Program[Recipe]) -> tuple[argparse.Namespace, Recipe]:
    """The options (`explain`, `json`, `log_format`) and the recipe with the fields that the flags set. Prints the help
    and raises SystemExit if that is asked for; raises RecipeError with one sentence for a mistake."""
    options, rest = parser(program).parse_known_args(argv)
    recipe = program.recipe(options.recipe, _overrides(rest, program))
    if options.help:
        whole = with_fields(program, recipe)
        whole.print_help()
        whole.exit()
    return options, recipe


def _overrides(arguments: Sequence[str], program: Program[Recipe]) -> dict[str, str]:
    """`--a.b 3` and `--a.b=3` as {"a.b": "3"}; raises RecipeError for anything else."""
    known = {field.path for field in recipe_fields(program.model)} | unnamed_fields(program.model).keys()
    groups = section_names(program.model)
    overrides: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        flag = waiting.pop(0)
        if not flag.startswith("--"):
            raise RecipeError(f"{flag!r} on the command line belongs to no flag: write --FIELD VALUE, or see --help")
        path, equals, value = flag[2:].partition("=")
        whole_group = path in groups and (value if equals else "".join(waiting[:1])).startswith("{")
        if path not in known and not whole_group:
            raise RecipeError(unknown_field(path, flag=True, also=OPTIONS, model=program.model))
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                raise RecipeError(
                    f"--{path} needs a value: write --{path} VALUE, or --{path}=VALUE if it begins with --"
                )
            value = waiting.pop(0)
        overrides[path] = value
    return overrides


def _usage(program: Program[Recipe]) -> str:
    ways = [FLAGS, f"{' | '.join(program.commands)} ..."] if program.commands else [FLAGS]
    return "\n       ".join(f"finetune {program.name} {way}" for way in ways)  # as far in as behind "usage: "


def _add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, Command]) -> None:
    """Lists the commands in the parser's help, each with the first line of its docstring."""
    group = parser.add_argument_group("commands", "each has a --help of its own")
    for name, command in commands.items():
        group.add_argument(name, help=(command.__doc__ or "").partition("\n")[0].replace("%", "%%"))


def _add_fields(parser: argparse.ArgumentParser, recipe: Recipe) -> None:
    """Lists every field in the parser's help, a group for each section."""
    values = recipe.model_dump(mode="json")
    groups: dict[str, Any] = {}
    for field in recipe_fields(type(recipe)):
        section = field.path.rpartition(".")[0]
        if section not in groups:
            groups[section] = parser.add_argument_group(f"fields of {section}" if section else "fields of the recipe")
        described = describe(field, value_at(values, field.path))
        groups[section].add_argument(f"--{field.path}", metavar="VALUE", help=described)


def describe(field: RecipeField, value: Any) -> str:
    """A field as --help shows it; `value` is what it has without a flag."""
    default = json.dumps(field.default)
    here = "" if json.dumps(value) == default else f"; in this recipe: {visible(json.dumps(value, ensure_ascii=False))}"
    return f"{field.description} [{field.kind}; default: {default}{here}]".replace("%", "%%")
