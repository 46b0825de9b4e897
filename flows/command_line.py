"""The command line of a flow: flags from the recipe's fields, one sentence for every error a user can cause."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from mlflow.exceptions import MlflowException
from prefect.logging.configuration import setup_logging
from rich.console import Console

from flows.prefect_api import find_or_start_prefect, no_heartbeats
from flows.published import BookLog, replay
from flows.terminal import Result, listening, progress_bars, show_result, show_verdicts
from lib.errors import FinetuneError, MessagesError, RecipeError, ServiceError
from lib.recipe import ClassifyRecipe
from lib.recipe_file import RecipeField, load_recipe, recipe_fields, unknown_field
from tasks.runner import Explainer
from tasks.services import tracking_uri, unusable_home_is_clear, without_password
from tasks.step import Run
from tasks.tracking import reason_of

EXIT_NOBODY_READS = 1  # what rich, which prints the tables, ends with
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
OPTIONS = ("recipe", "explain", "json", "log-format", "help")  # the flags that are no fields
USAGE = """python -m flows.classify [--recipe NAME] [--FIELD VALUE ...] [--explain] [--json] [--log-format book]
       python -m flows.classify predict TEXT ... [--name MODEL | --run ID] [--json]"""
DESCRIPTION = "Fine-tune, evaluate and register a text classifier, or label texts with one."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{message}; --help shows what there is")


def main(argv: Sequence[str], flow: Callable[[ClassifyRecipe], dict[str, Any]], steps: Callable[..., Any]) -> int:
    """Runs what the arguments ask for; returns the exit status."""
    try:
        with unusable_home_is_clear(), _mlflow_errors_are_clear():
            status = _do(argv, flow, steps)
            sys.stdout.flush()  # here rather than when Python ends, so that a closed pipe is noticed here
            return status
    except FinetuneError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is the program's output
        return EXIT_USER_ERROR
    except BrokenPipeError:
        # Whoever read the output, `head` for example, has enough. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NOBODY_READS
    except KeyboardInterrupt:
        print("interrupted: the next run goes on from what is in the store", file=sys.stderr)  # noqa: T201
        return EXIT_INTERRUPTED


def _do(argv: Sequence[str], flow: Callable[[ClassifyRecipe], dict[str, Any]], steps: Callable[..., Any]) -> int:
    if argv and argv[0] == "predict":
        return _predict(argv[1:])
    options, recipe = _parse(argv)
    if options.explain:
        return _explain(recipe, steps, options.json)
    return _run(recipe, flow, options.json, options.log_format)


@contextmanager
def _mlflow_errors_are_clear() -> Iterator[None]:
    """What MLflow raises in the middle of a run, a full database or a lost server, as one sentence."""
    try:
        yield
    except MlflowException as error:
        raise ServiceError(
            f"MLflow at {without_password(tracking_uri())} failed ({without_password(reason_of(error))}): see that it"
            " works and run again, which goes on from what is in the store"
        ) from error


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, ClassifyRecipe]:
    parser = _Parser(usage=USAGE, description=DESCRIPTION, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this, with the values of the recipe")
    parser.add_argument("--recipe", default="quickstart", metavar="NAME", help="a recipe's name, or a YAML file")
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
    recipe = load_recipe(options.recipe, _overrides(rest))
    if options.help:
        _add_fields(parser, recipe)
        parser.print_help()
        parser.exit()
    return options, recipe


def _overrides(arguments: Sequence[str]) -> dict[str, str]:
    """`--a.b 3` and `--a.b=3` as {"a.b": "3"}; raises RecipeError for anything else."""
    known = {field.path for field in recipe_fields()}
    overrides: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        flag = waiting.pop(0)
        if not flag.startswith("--"):
            raise RecipeError(f"{flag!r} on the command line belongs to no flag: write --FIELD VALUE, or see --help")
        path, equals, value = flag[2:].partition("=")
        if path not in known:
            raise RecipeError(unknown_field(path, flag=True, also=OPTIONS))
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                raise RecipeError(
                    f"--{path} needs a value: write --{path} VALUE, or --{path}=VALUE if it begins with --"
                )
            value = waiting.pop(0)
        overrides[path] = value
    return overrides


def _add_fields(parser: argparse.ArgumentParser, recipe: ClassifyRecipe) -> None:
    """Lists every field in the parser's help, a group for each section."""
    values = recipe.model_dump(mode="json")
    groups: dict[str, Any] = {}
    for field in recipe_fields():
        section, _, name = field.path.rpartition(".")
        if section not in groups:
            groups[section] = parser.add_argument_group(f"fields of {section}" if section else "fields of the recipe")
        value = values[section][name] if section else values[name]
        groups[section].add_argument(f"--{field.path}", metavar="VALUE", help=_describe(field, value))


def _describe(field: RecipeField, value: Any) -> str:
    default = json.dumps(field.default)
    here = "" if json.dumps(value) == default else f"; in this recipe: {json.dumps(value, ensure_ascii=False)}"
    return f"{field.description} [{field.kind}; default: {default}{here}]".replace("%", "%%")


def _run(
    recipe: ClassifyRecipe, flow: Callable[[ClassifyRecipe], dict[str, Any]], as_json: bool, log_format: str
) -> int:
    _keep_errors_off_the_terminal()
    find_or_start_prefect()
    with no_heartbeats():
        if log_format == "book":
            result = _run_as_the_book(recipe, flow, sys.stderr if as_json else sys.stdout)
        else:
            with progress_bars(Console(stderr=True)):
                result = flow(recipe)
    if as_json:
        print(json.dumps(result))  # noqa: T201
    else:
        show_result(Console(), Result.model_validate(result), recipe)
    return 0


def _run_as_the_book(
    recipe: ClassifyRecipe, flow: Callable[[ClassifyRecipe], dict[str, Any]], stream: TextIO
) -> dict[str, Any]:
    """The flow's result; `stream` gets the published procedure's lines, also of a training that was not repeated."""
    log = BookLog(lambda line: print(line, file=stream, flush=True), recipe.training.evaluate_every)
    with listening(log):
        result = flow(recipe)
    training = next(outcome for outcome in Result.model_validate(result).steps if outcome.step == "finetune")
    assert training.artifact is not None, "the training is a step with an artifact"
    if training.state == "cached":
        replay(training.artifact, log)
    log.end()
    return result


def _explain(recipe: ClassifyRecipe, steps: Callable[..., Any], as_json: bool) -> int:
    explainer = Explainer(Run(recipe))
    steps(explainer)
    if as_json:
        verdicts = [{"step": v.step, "would": v.would, "reasons": v.reasons} for v in explainer.verdicts]
        print(json.dumps({"recipe": recipe.name, "steps": verdicts}))  # noqa: T201
    else:
        show_verdicts(Console(), explainer.verdicts)
    return 0


def _predict(argv: Sequence[str]) -> int:
    parser = _Parser(prog="python -m flows.classify predict", allow_abbrev=False)
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="what to classify; - reads lines from standard input")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the registered model (default: the only one that has a champion)")
    which.add_argument("--run", help="the MLflow run whose classifier to use instead of a champion")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each text")
    options = parser.parse_args(argv)
    from tasks.predict import predict

    texts = _lines() if options.texts == ["-"] else options.texts
    for text, answer in zip(texts, predict(texts, name=options.name, run=options.run), strict=True):
        if options.json:
            print(json.dumps({"text": text, **answer}, ensure_ascii=False))  # noqa: T201
        else:
            shares = ", ".join(
                f"{name.removeprefix('probability_')} {share:.1%}" for name, share in answer.items() if name != "label"
            )
            print(f"{answer['label']}\t{shares}\t{text}")  # noqa: T201
    return 0


def _lines() -> list[str]:
    """The lines of standard input, each a text."""
    try:
        lines = [line.rstrip("\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise MessagesError(f"standard input is not UTF-8 text ({error.reason}): convert it first") from None
    if not lines:
        raise MessagesError("standard input is empty: write one text a line")
    return lines


def _keep_errors_off_the_terminal() -> None:
    """Prefect's logs of a failure repeat, with a traceback, what `main` says in one sentence. Its pages keep them."""

    def is_not_said_already(record: logging.LogRecord) -> bool:
        of_a_run = record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
        return not (of_a_run and record.levelno >= logging.ERROR)

    setup_logging()  # later calls of Prefect's keep the handlers, and so the filter
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_not_said_already)
