"""The command line of a flow: flags from the recipe's fields, one sentence for every error a user can cause."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from mlflow.exceptions import MlflowException
from prefect.logging.configuration import setup_logging
from rich.console import Console

from flows.run.prefect_api import find_or_start_prefect, no_heartbeats
from flows.run.result import Result, listening
from flows.terminal.display import progress_bars, show_result, show_verdicts
from flows.terminal.program import Command, Parser, Program, Recipe
from flows.terminal.published import BookLog, replay
from lib.errors import FinetuneError, RecipeError, ServiceError
from lib.recipes.fields import RecipeField, recipe_fields
from lib.recipes.mistakes import unknown_field
from tasks.engine.runner import Explainer
from tasks.engine.step import Run
from tasks.environment import tracking_uri, unusable_home_is_clear, without_password
from tasks.record.mlflow_run import reason_of

EXIT_NOBODY_READS = 1  # what rich, which prints the tables, ends with
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
OPTIONS = ("recipe", "explain", "json", "log-format", "help")  # the flags that are no fields
FLAGS = "[--recipe NAME] [--FIELD VALUE ...] [--explain] [--json] [--log-format book]"


def main(argv: Sequence[str], program: Program[Recipe]) -> int:
    """Runs what the arguments ask for; returns the exit status."""
    return exit_status_of(lambda: _do(argv, program), kept="the next run goes on from what is in the store")


def exit_status_of(work: Callable[[], int], *, kept: str) -> int:
    """What `work` returns, or the exit status of how it failed: one sentence on standard error, and no traceback.

    `kept`: what is told after Ctrl-C.
    """
    try:
        with unusable_home_is_clear(), _mlflow_errors_are_clear():
            status = work()
            sys.stdout.flush()  # here rather than when Python ends, so that a closed pipe is noticed here
            return status
    except FinetuneError as error:
        _say_error(error)
        return EXIT_USER_ERROR
    except BrokenPipeError:
        # Whoever read the output, `head` for example, has enough. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NOBODY_READS
    except KeyboardInterrupt:
        print(f"interrupted: {kept}", file=sys.stderr)  # noqa: T201
        return EXIT_INTERRUPTED


def _say_error(what: object) -> None:
    print(f"error: {what}", file=sys.stderr)  # noqa: T201 - this is the program's output


def _do(argv: Sequence[str], program: Program[Recipe]) -> int:
    if argv and argv[0] in program.commands:
        return program.commands[argv[0]](argv[1:])
    options, recipe = parse(argv, program)
    if options.explain:
        return _explain(recipe, program, options.json)
    return _run(recipe, program, options.json, options.log_format)


@contextmanager
def _mlflow_errors_are_clear() -> Iterator[None]:
    """What MLflow raises in the middle of a run, a full database or a lost server, as one sentence."""
    try:
        yield
    except FinetuneError:
        raise  # what a served model says of its input is an exception of MLflow's too, and clear already
    except MlflowException as error:
        raise ServiceError(
            f"MLflow at {without_password(tracking_uri())} failed ({without_password(reason_of(error))}): see that it"
            " works and run again, which goes on from what is in the store"
        ) from error


def parse(argv: Sequence[str], program: Program[Recipe]) -> tuple[argparse.Namespace, Recipe]:
    """The options (`explain`, `json`, `log_format`) and the recipe with the fields that the flags set.

    Prints the help and raises SystemExit if that is asked for; raises RecipeError with one sentence for a mistake.
    """
    parser = Parser(usage=_usage(program), description=program.description, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this, with the values of the recipe")
    about_recipe = f"a recipe's name in recipes/{program.folder}, or a YAML file (default: {program.default_recipe})"
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
    options, rest = parser.parse_known_args(argv)
    recipe = program.recipe(options.recipe, _overrides(rest, program))
    if options.help:
        if program.commands:
            _add_commands(parser, program.commands)
        _add_fields(parser, recipe)
        parser.print_help()
        parser.exit()
    return options, recipe


def _overrides(arguments: Sequence[str], program: Program[Recipe]) -> dict[str, str]:
    """`--a.b 3` and `--a.b=3` as {"a.b": "3"}; raises RecipeError for anything else."""
    known = {field.path for field in recipe_fields(program.model)}
    overrides: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        flag = waiting.pop(0)
        if not flag.startswith("--"):
            raise RecipeError(f"{flag!r} on the command line belongs to no flag: write --FIELD VALUE, or see --help")
        path, equals, value = flag[2:].partition("=")
        if path not in known:
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
    return "\n       ".join(f"python -m {program.module} {way}" for way in ways)  # as far in as behind "usage: "


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
        section, _, name = field.path.rpartition(".")
        if section not in groups:
            groups[section] = parser.add_argument_group(f"fields of {section}" if section else "fields of the recipe")
        value = values[section][name] if section else values[name]
        groups[section].add_argument(f"--{field.path}", metavar="VALUE", help=describe(field, value))


def describe(field: RecipeField, value: Any) -> str:
    """A field as --help shows it; `value` is what it has without a flag."""
    default = json.dumps(field.default)
    here = "" if json.dumps(value) == default else f"; in this recipe: {json.dumps(value, ensure_ascii=False)}"
    return f"{field.description} [{field.kind}; default: {default}{here}]".replace("%", "%%")


def _run(recipe: Recipe, program: Program[Recipe], as_json: bool, log_format: str) -> int:
    keep_errors_off_the_terminal()
    find_or_start_prefect()
    with no_heartbeats():
        if log_format == "book":
            printed = _run_as_the_book(recipe, program, sys.stderr if as_json else sys.stdout)
        else:
            with progress_bars(Console(stderr=True)):
                printed = program.flow(recipe)
    result = Result.model_validate(printed)
    if as_json:
        print(json.dumps(printed))  # noqa: T201
    else:
        show_result(Console(), result, recipe, program)
    failed = [outcome.reason for outcome in result.steps if outcome.state == "failed"]
    if failed:
        sys.stdout.flush()  # so that the reasons come last where both streams go to one place
    for reason in failed:
        _say_error(reason)
    return EXIT_USER_ERROR if failed else 0


def _run_as_the_book(recipe: Recipe, program: Program[Recipe], stream: TextIO) -> dict[str, Any]:
    """The flow's result; `stream` gets the published procedure's lines, also of a training that was not repeated."""
    log = BookLog(lambda line: print(line, file=stream, flush=True), recipe.training.evaluate_every)
    with listening(log.listener):
        result = program.flow(recipe)
    training = next(outcome for outcome in Result.model_validate(result).steps if outcome.step == program.trains)
    assert training.artifact is not None, "the training is a step with an artifact"
    if training.state == "cached":
        replay(training.artifact, log.listener)
    log.end()
    return result


def _explain(recipe: Recipe, program: Program[Recipe], as_json: bool) -> int:
    explainer = Explainer(Run(recipe))
    program.steps(explainer)
    if as_json:
        verdicts = [{"step": v.step, "would": v.would, "reasons": v.reasons} for v in explainer.verdicts]
        print(json.dumps({"recipe": recipe.name, "steps": verdicts}))  # noqa: T201
    else:
        show_verdicts(Console(), explainer.verdicts)
    return 0


def keep_errors_off_the_terminal() -> None:
    """Prefect's logs of a failure repeat, with a traceback, what `main` says in one sentence. Its pages keep them."""

    def is_not_said_already(record: logging.LogRecord) -> bool:
        of_a_run = record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
        return not (of_a_run and record.levelno >= logging.ERROR)

    setup_logging()  # later calls of Prefect's keep the handlers, and so the filter
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_not_said_already)
