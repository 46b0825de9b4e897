"""`promote` and `rollback`: who is champion, changed by hand. The commands of both flows' command lines.

Which version a run makes champion by itself is decided in `tasks.registry.decide`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from flows.terminal.program import Parser
from tasks.registry.champions import Change, promote_by_hand, rollback
from tasks.registry.models import CLASSIFIER, INSTRUCTIONS, Kind


def promote_command(argv: Sequence[str]) -> int:
    """Makes a version of a registered classifier the champion, whatever was decided about it."""
    return _promote(argv, "python -m flows.classify promote", CLASSIFIER)


def rollback_command(argv: Sequence[str]) -> int:
    """Makes the classifier before the present champion the champion again."""
    return _rollback(argv, "python -m flows.classify rollback", CLASSIFIER)


def promote_follower_command(argv: Sequence[str]) -> int:
    """Makes a version of a registered model that follows instructions the champion."""
    return _promote(argv, "python -m flows.instruct promote", INSTRUCTIONS)


def rollback_follower_command(argv: Sequence[str]) -> int:
    """Makes the model that follows instructions before the present champion the champion again."""
    return _rollback(argv, "python -m flows.instruct rollback", INSTRUCTIONS)


def _promote(argv: Sequence[str], prog: str, kind: Kind) -> int:
    parser = _parser(prog)
    parser.add_argument("version", metavar="VERSION", help="the number of a registered version")
    options = parser.parse_args(argv)
    _show(promote_by_hand(options.version, kind=kind, name=options.name), options)
    return 0


def _rollback(argv: Sequence[str], prog: str, kind: Kind) -> int:
    options = _parser(prog).parse_args(argv)
    _show(rollback(kind=kind, name=options.name), options)
    return 0


def _parser(prog: str) -> Parser:
    parser = Parser(prog=prog, allow_abbrev=False)
    parser.add_argument("--name", help="the registered model (default: the only one of this kind)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _show(change: Change, options: argparse.Namespace) -> None:
    if options.json:
        print(change.model_dump_json())  # noqa: T201 - this is the program's output
    elif change.before == change.champion:
        print(f"{change.name}: version {change.champion} is the champion already")  # noqa: T201
    else:
        was = f", it was version {change.before}" if change.before else ""
        print(f"{change.name}: version {change.champion} is the champion now{was}")  # noqa: T201
