"""Compare recipes, or search for a better one: `finetune compare FILE.yaml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.terminal.command_line import describe
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from lib.errors import RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.compare import CompareRecipe
from lib.recipes.fields import recipe_fields, unnamed_fields
from lib.recipes.mistakes import unknown_field
from lib.recipes.reading import bundled_recipes, load_recipe
from lib.recipes.variants import beside, changed_everywhere
from tasks.environment import home

FOLDER = "compare"  # of the bundled ones, in recipes/
USAGE = "finetune compare FILE [--FIELD VALUE ...] [--explain] [--json]"
DESCRIPTION = (
    "Train several variants of a recipe, compare them on validation, and let the best one alone see the test split; see"
    " docs/comparing.md."
)
OPTIONS = ("explain", "json", "help")  # the flags that are no fields


def parser() -> Parser:
    """The flags: one for each field of a comparison; those of a recipe, which all variants then have, are taken too."""
    parser = Parser(usage=USAGE, prog="finetune compare", description=DESCRIPTION, allow_abbrev=False)
    about = f"a comparison's name in recipes/{FOLDER} ({', '.join(bundled_recipes(FOLDER))}), or a YAML file"
    parser.add_argument("file", metavar="FILE", help=about)
    parser.add_argument(
        "--explain", action="store_true", help="say what would run, and for which variants; run nothing"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    for field in recipe_fields(CompareRecipe):
        text = describe(field, field.default)
        parser.add_argument(f"--{field.path}", metavar="VALUE", default=argparse.SUPPRESS, help=text)
    parser.epilog = (
        "Any field of a recipe, such as --training.epochs 3, is set in all variants (finetune classify --help)."
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, CompareRecipe]:
    """The options (`explain`, `json`) and the comparison; raises RecipeError with one sentence for a mistake."""
    options, rest = parser().parse_known_args(argv)
    fields = {field.path for field in recipe_fields(CompareRecipe)}
    overrides: dict[str, Any] = {path: value for path, value in vars(options).items() if path in fields}
    comparison = load_recipe(options.file, overrides, folder=FOLDER, model=CompareRecipe)
    return options, _with_files_beside(options.file, changed_everywhere(comparison, _changes(rest)))


def main(argv: Sequence[str]) -> int:
    """Compares what the arguments name; returns the exit status."""
    return exit_status_of(
        lambda: _run(argv), kept="what is trained is kept, and the same command goes on with what is missing"
    )


def _run(argv: Sequence[str]) -> int:
    options, comparison = parse(argv)
    announce(f"finetune compare: {comparison.name}; everything lies in {home()}")
    from flows.terminal.compared import (  # here, because a mistake shows before what a run needs is imported
        explain,
        run,
    )

    if options.explain:
        return explain(comparison, as_json=options.json)
    return run(comparison, as_json=options.json)


def _changes(rest: Sequence[str]) -> Mapping[str, str]:
    """`--training.epochs 3` and `--training.epochs=3`, fields of a recipe, as changes of all variants."""
    known = {field.path for field in recipe_fields(ClassifyRecipe)} | unnamed_fields(ClassifyRecipe).keys()
    changes, waiting = dict[str, str](), list(rest)
    while waiting:
        flag = waiting.pop(0)
        path, equals, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--"):
            raise RecipeError(f"{flag!r} on the command line belongs to no flag: write --FIELD VALUE, or see --help")
        if path not in known:
            raise RecipeError(unknown_field(path, flag=True, also=OPTIONS, model=ClassifyRecipe))
        if not equals and not waiting:
            raise RecipeError(f"--{path} needs a value: write --{path} VALUE")
        changes[path] = value if equals else waiting.pop(0)
    return changes


def _with_files_beside(file: str, comparison: CompareRecipe) -> CompareRecipe:
    """Finds recipes that a comparison's file names and that lie beside it."""
    folder = Path(file).expanduser().parent
    if comparison.recipe is not None:
        return comparison.model_copy(update={"recipe": beside(comparison.recipe, folder)})
    return comparison.model_copy(update={"recipes": tuple(beside(each, folder) for each in comparison.recipes)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
