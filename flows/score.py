"""Score files with a registered classifier: `finetune score INPUT ... --output FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from flows.terminal.command_line import describe
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from lib.errors import RecipeError, listed
from lib.recipes.fields import recipe_fields
from lib.recipes.mistakes import unknown_field
from lib.recipes.reading import build_recipe
from lib.recipes.scoring import ScoringJob
from tasks.environment import home

USAGE = "finetune score INPUT ... --output FOLDER [--name MODEL | --run ID] [--FIELD VALUE ...] [--json]"
DESCRIPTION = "Score every message of the files with a registered classifier; see docs/scoring.md."
OPTIONS = ("json", "help")  # the flags that are no fields
BY_PLACE = ("inputs", "output")  # the fields that the command line takes in a way of its own


def parser() -> Parser:
    """The flags: one for each field of a job."""
    parser = Parser(usage=USAGE, prog="finetune score", description=DESCRIPTION, allow_abbrev=False)
    fields = {field.path: field for field in recipe_fields(ScoringJob)}
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=fields["inputs"].description)
    parser.add_argument("--output", required=True, metavar="FOLDER", help=fields["output"].description)
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    for path, field in fields.items():
        if path not in BY_PLACE:
            text = describe(field, field.default)
            parser.add_argument(f"--{path}", metavar="VALUE", default=argparse.SUPPRESS, help=text)
    return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, ScoringJob]:
    """The options (`json`) and the job; raises RecipeError with one sentence for a mistake."""
    options, unknown = parser().parse_known_args(argv)
    for flag in unknown:
        path = flag.removeprefix("--").partition("=")[0]
        raise RecipeError(unknown_field(path, flag=True, also=OPTIONS, model=ScoringJob))
    fields = {field.path for field in recipe_fields(ScoringJob)}
    overrides = {path: value for path, value in vars(options).items() if path in fields and path not in BY_PLACE}
    given = {"inputs": options.inputs, "output": options.output}
    return options, build_recipe(given, overrides, origin="the command line", model=ScoringJob)


def main(argv: Sequence[str]) -> int:
    """Scores what the arguments ask for; returns the exit status."""
    return exit_status_of(lambda: _run(argv), kept="finished parts are kept, and the same command goes on from them")


def _run(argv: Sequence[str]) -> int:
    options, job = parse(argv)
    announce(f"finetune score: {listed(job.inputs)}; answers go to {job.output}, records to {home()}")
    from flows.terminal.scoring import score

    return score(job, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
