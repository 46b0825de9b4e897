"""`finetune predict` and `finetune answer`: single texts, from the command line or standard input."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.terminal.exits import announce
from flows.terminal.program import Parser, standard_input_lines
from flows.terminal.say import say, say_json
from lib.errors import MessagesError
from lib.text.turns import Turn, earlier_turns
from lib.visible import visible
from tasks.environment import tracking_uri

if TYPE_CHECKING:
    from tasks.registry.models import Version

LONGEST_EARLIER = 2**20  # characters of what was said before; JSON that is longer is cut off, and so is none


def predict_command(argv: Sequence[str]) -> int:
    """Label texts with a registered classifier, or with the one of a run. Prints a line for each text; returns the exit
    status. Raises FinetuneError with one sentence."""
    options, texts = _asked(predict_parser(), argv)
    from tasks.use.predict import predict

    for text, given in zip(texts, predict(texts, **_which(options)), strict=True):
        if options.json:
            say_json({"text": text, **given})
        else:
            shares = ", ".join(
                f"{name.removeprefix('probability_')} {share:.1%}"
                for name, share in given.items()
                if name.startswith("probability_")
            )
            parts = (f"{given['label']}", shares, text)
            say("\t".join(map(visible, parts)), lines=True)
    return 0


def answer_command(argv: Sequence[str]) -> int:
    """Answer questions with a registered model that follows instructions, or with the one of a run. Prints each
    response; returns the exit status. Raises FinetuneError with one sentence."""
    options, instructions = _asked(answer_parser(), argv)
    from tasks.use.predict import answer

    earlier = _said(options.earlier) if options.earlier else ()
    questions = [(instruction, options.input, earlier) for instruction in instructions]
    for (instruction, input_, _), response in zip(questions, answer(questions, **_which(options)), strict=True):
        if options.json:
            say_json({"instruction": instruction, "input": input_, "response": response})
        else:
            say(response if len(questions) == 1 else f"> {instruction}\n{response}\n", lines=True)
    return 0


def _said(file: str) -> tuple[Turn, ...]:
    """Reads the turns before a question. Raises MessagesError if the file cannot be read or has something else."""
    try:
        with Path(file).open(encoding="utf-8-sig") as source:
            value = json.loads(source.read(LONGEST_EARLIER))
    except (OSError, ValueError, RecursionError) as error:
        raise MessagesError(f"--earlier {file} cannot be read as JSON ({error}): correct it") from error
    return earlier_turns(value, f"--earlier {file}")


def predict_parser() -> Parser:
    """The flags of `predict`."""
    return _parser("finetune predict", "TEXT", "what to classify")


def answer_parser() -> Parser:
    """The flags of `answer`."""
    parser = _parser("finetune answer", "INSTRUCTION", "what to do")
    parser.add_argument("--input", default="", metavar="TEXT", help="what to do it with, for every instruction")
    parser.add_argument(
        "--earlier",
        metavar="FILE",
        help="what was said before, for every instruction: a JSON list of objects with role (system, user or assistant)"
        " and content",
    )
    return parser


def _parser(prog: str, metavar: str, about: str) -> Parser:
    parser = Parser(prog=prog, allow_abbrev=False)
    parser.add_argument("texts", nargs="+", metavar=metavar, help=f"{about}; - reads lines from standard input")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the registered model whose champion answers (default: the one registered last)")
    which.add_argument("--run", help="the MLflow run whose model answers instead of a champion")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each text")
    return parser


def _asked(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    options = parser.parse_args(argv)
    which = options.name or options.run or "the model registered last"
    announce(f"{parser.prog}: {which} of those registered in {tracking_uri()}")
    return options, standard_input_lines() if options.texts == ["-"] else options.texts


def _which(options: argparse.Namespace) -> dict[str, Any]:
    """The model that is asked for; which one that is, is said where nothing was."""
    return {"name": options.name, "run": options.run, "tell": silent if options.name or options.run else say_which}


def silent(version: Version) -> None:
    """Says nothing: the user has named the model."""


def say_which(version: Version) -> None:
    """Says on standard error which model answers."""
    announce(f"{version.name} version {version.version} answers (--name chooses another)")
