"""The command line of a flow: flags from the recipe's fields, one sentence for every error a user can cause.

python -m flows.classify [--recipe NAME] [--FIELD VALUE ...] [--explain] [--json]
python -m flows.classify predict TEXT ... [--name MODEL | --run ID] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rich.console import Console

from flows.terminal import Result, progress_bars, show_result, show_verdicts
from lib.errors import FinetuneError, RecipeError
from lib.recipe import ClassifyRecipe, RecipeField, load_recipe, recipe_fields, unknown_field
from tasks.runner import Explainer
from tasks.step import Run

EXIT_USER_ERROR = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RecipeError(message)


def main(argv: Sequence[str], flow: Callable[[ClassifyRecipe], dict[str, Any]], steps: Callable[..., Any]) -> int:
    """Runs what the arguments ask for; returns the exit status."""
    try:
        if argv[:1] == ["predict"]:
            return _predict(argv[1:])
        options, recipe = _parse(argv)
        return _explain(recipe, steps, options.json) if options.explain else _run(recipe, flow, options.json)
    except FinetuneError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is the program's output
        return EXIT_USER_ERROR


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, ClassifyRecipe]:
    parser = _Parser(prog="python -m flows.classify", description=__doc__, allow_abbrev=False, add_help=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("-h", "--help", action="store_true", help="show this, with the recipe's own values as defaults")
    parser.add_argument("--recipe", default="quickstart", metavar="NAME", help="a recipe's name, or a YAML file")
    parser.add_argument("--explain", action="store_true", help="say for each step why it would run; run nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options, rest = parser.parse_known_args(argv)
    recipe = load_recipe(options.recipe, _overrides(rest))
    if options.help:
        _help(parser, recipe)
        sys.exit(0)
    return options, recipe


def _overrides(arguments: Sequence[str]) -> dict[str, str]:
    """`--a.b 3` and `--a.b=3` as {"a.b": "3"}; raises RecipeError for anything else."""
    known = {field.path for field in recipe_fields(ClassifyRecipe)}
    overrides: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        flag = waiting.pop(0)
        if not flag.startswith("--"):
            raise RecipeError(f"{flag!r} on the command line belongs to no flag: write --FIELD VALUE, or see --help")
        path, equals, value = flag[2:].partition("=")
        if path not in known:
            raise RecipeError(unknown_field(path, "the command line"))
        if not equals:
            if not waiting:
                raise RecipeError(f"--{path} needs a value")
            value = waiting.pop(0)
        overrides[path] = value
    return overrides


def _help(parser: argparse.ArgumentParser, recipe: ClassifyRecipe) -> None:
    values = recipe.model_dump(mode="json")
    for field in recipe_fields(ClassifyRecipe):
        section = field.path.partition(".")[0]
        group = next((g for g in parser._action_groups if g.title == section), None)
        if group is None:
            group = parser.add_argument_group(section)
        group.add_argument(f"--{field.path}", metavar="VALUE", help=_describe(field, values))
    parser.print_help()


def _describe(field: RecipeField, values: dict[str, Any]) -> str:
    value: Any = values
    for part in field.path.split("."):
        value = value[part]
    text = f"{field.description} [{field.kind}; default: {json.dumps(value)}]"
    return text.replace("%", "%%")


def _run(recipe: ClassifyRecipe, flow: Callable[[ClassifyRecipe], dict[str, Any]], as_json: bool) -> int:
    _keep_errors_off_the_terminal()
    with progress_bars(Console(stderr=True)):
        result = flow(recipe)
    if as_json:
        print(json.dumps(result))  # noqa: T201
    else:
        show_result(Console(), Result.model_validate(result), recipe.evaluation.confidence)
    return 0


def _explain(recipe: ClassifyRecipe, steps: Callable[..., Any], as_json: bool) -> int:
    explainer = Explainer(Run(recipe))
    steps(explainer)
    if as_json:
        verdicts = [{"step": v.step, "would": v.would, "reasons": v.reasons} for v in explainer.verdicts]
        print(json.dumps(verdicts))  # noqa: T201
    else:
        show_verdicts(Console(), explainer.verdicts)
    return 0


def _predict(argv: Sequence[str]) -> int:
    parser = _Parser(prog="python -m flows.classify predict", allow_abbrev=False)
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="what to classify; - reads lines from standard input")
    parser.add_argument("--name", help="the registered model (default: the only one that has a champion)")
    parser.add_argument("--run", help="the MLflow run whose classifier to use instead of a champion")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each text")
    options = parser.parse_args(argv)
    from tasks.predict import predict

    texts = [line.rstrip("\n") for line in sys.stdin] if options.texts == ["-"] else options.texts
    for text, answer in zip(texts, predict(texts, name=options.name, run=options.run), strict=True):
        if options.json:
            print(json.dumps({"text": text, **answer}, ensure_ascii=False))  # noqa: T201
        else:
            shares = ", ".join(
                f"{name.removeprefix('probability_')} {share:.1%}" for name, share in answer.items() if name != "label"
            )
            print(f"{answer['label']}\t{shares}\t{text}")  # noqa: T201
    return 0


def _keep_errors_off_the_terminal() -> None:
    """Prefect's logs of a failure repeat, with a traceback, what `main` says in one sentence. Its pages keep them."""

    def no_errors(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            if type(handler).__name__ == "PrefectConsoleHandler":
                handler.addFilter(no_errors)
