"""`promote` and `rollback`: change the champion by hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.terminal.exits import announce
from flows.terminal.program import Parser
from flows.terminal.say import say
from tasks.environment import tracking_uri

if TYPE_CHECKING:
    from tasks.registry.champions import Change


def promote_command(argv: Sequence[str]) -> int:
    """Make a version of a registered classifier the champion, whatever was decided about it."""
    return _promote(argv, "finetune promote", "classifier")


def rollback_command(argv: Sequence[str]) -> int:
    """Make the classifier before the present champion the champion again."""
    return _rollback(argv, "finetune rollback", "classifier")


def promote_follower_command(argv: Sequence[str]) -> int:
    """Make a version of a registered model that follows instructions the champion."""
    return _promote(argv, "finetune instruct promote", "instructions")


def rollback_follower_command(argv: Sequence[str]) -> int:
    """Make the model that follows instructions before the present champion the champion again."""
    return _rollback(argv, "finetune instruct rollback", "instructions")


def _promote(argv: Sequence[str], prog: str, kind: str) -> int:
    options = _parsed(promote_parser(prog), argv)
    from tasks.registry.champions import promote_by_hand
    from tasks.registry.models import KINDS

    _show(promote_by_hand(options.version, kind=KINDS[kind], name=options.name), options)
    return 0


def _rollback(argv: Sequence[str], prog: str, kind: str) -> int:
    options = _parsed(rollback_parser(prog), argv)
    from tasks.registry.champions import rollback
    from tasks.registry.models import KINDS

    _show(rollback(kind=KINDS[kind], name=options.name), options)
    return 0


def _parsed(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    options = parser.parse_args(argv)
    announce(f"{parser.prog}: who is champion, as registered in {tracking_uri()}")
    return options


def promote_parser(prog: str = "finetune promote") -> Parser:
    """The flags of `promote`."""
    parser = rollback_parser(prog)
    parser.add_argument("version", metavar="VERSION", help="the number of a registered version")
    return parser


def rollback_parser(prog: str = "finetune rollback") -> Parser:
    """The flags of `rollback`."""
    parser = Parser(prog=prog, allow_abbrev=False)
    parser.add_argument("--name", help="the registered model (default: the only one of this kind)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _show(change: Change, options: argparse.Namespace) -> None:
    if options.json:
        say(change.model_dump_json())
    elif change.before == change.champion:
        say(f"{change.name}: version {change.champion} is the champion already")
    else:
        was = f", it was version {change.before}" if change.before else ""
        say(f"{change.name}: version {change.champion} is the champion now{was}")
