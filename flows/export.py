"""Write a registered model in a form that other programs read: `finetune export --format hf FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from flows.terminal.say import say, say_json
from lib.errors import RecipeError
from tasks.environment import tracking_uri

FORMATS = ("hf", "onnx")


def main(argv: Sequence[str]) -> int:
    """Exports what the arguments ask for; returns the exit status."""
    return exit_status_of(lambda: _export(parser().parse_args(argv)))


def parser() -> Parser:
    """The flags."""
    parser = Parser(prog="finetune export", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder, which appears whole or not at all")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="hf: what transformers' Auto classes and pipelines load; onnx: a classifier for ONNX Runtime, with its"
        " tokenizer beside it",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the registered model whose champion it is (default: the one registered last)")
    which.add_argument("--run", help="the MLflow run whose model it is instead of a champion")
    parser.add_argument("--version", help="with --name: another version than the champion")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _export(options: argparse.Namespace) -> int:
    if options.version is not None and options.name is None:
        raise RecipeError("--version is of a model that --name names: give both")
    which = options.name or options.run or "the model registered last"
    announce(f"finetune export: {which} of those registered in {tracking_uri()}")
    from tasks.use.export import export

    found = export(
        options.folder, options.format, name=options.name, run=options.run, version=options.version, warn=announce
    )
    files = sorted(file.name for file in options.folder.iterdir())
    if options.json:
        told = {"folder": f"{options.folder}", "format": options.format, "model": found.name, "version": found.version}
        say_json({**told, "files": files})
    else:
        say(f"{found.name} version {found.version} is in {options.folder}: {', '.join(files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
