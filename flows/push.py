"""Push a model to a Hugging Face hub, private unless --public: `finetune push OWNER/NAME`; HF_TOKEN has the token."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from flows.terminal.say import say
from lib.errors import RecipeError
from tasks.environment import tracking_uri


def main(argv: Sequence[str]) -> int:
    """Pushes; returns the exit status."""
    return exit_status_of(lambda: _push(argv))


def parser() -> Parser:
    """The flags."""
    parser = Parser(prog="finetune push", description=__doc__, allow_abbrev=False)
    parser.add_argument("repository", metavar="OWNER/NAME", help="where to; it is made if it does not exist")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the registered classifier (default: the one registered last)")
    which.add_argument("--run", help="the MLflow run whose classifier is pushed")
    which.add_argument("--folder", help="a saved model's folder, registered or not")
    parser.add_argument("--version", help="with --name: which version (default: the champion)")
    parser.add_argument("--public", action="store_true", help="let everybody read it (default: only its owner)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _push(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    if options.version is not None and options.name is None:
        raise RecipeError("--version is of a model that --name names: give both")
    what = options.folder or f"{options.name or options.run or 'the model registered last'}"
    where = "" if options.folder else f" of those registered in {tracking_uri()}"
    announce(f"finetune push: {what}{where}, to {options.repository}")
    from lib.export.hub_card import hub_card
    from lib.export.publishing import push

    folder, called, described = _chosen(options)
    readme = hub_card(folder, options.repository, described)
    made = push(folder, options.repository, readme=readme, public=options.public, message=f"Push {called}")
    if options.json:
        told = {"url": made.url, "commit": made.commit, "new": made.new, "private": made.private}
        print(json.dumps(told))  # noqa: T201 - this is the program's output
    else:
        done = f"pushed as commit {made.commit}" if made.new else f"nothing new: commit {made.commit} has all of it"
        say(f"{made.url} ({'private' if made.private else 'public'}): {done}")
    return 0


def _chosen(options: argparse.Namespace) -> tuple[Path, str, str | None]:
    """Returns the folder, what it is called, and its card."""
    if options.folder is not None:
        folder = Path(options.folder).expanduser()
        return folder, "a saved model", None
    from tasks.use.publish import registered

    found = registered(name=options.name, version=options.version, run=options.run)
    return found.folder, found.called, found.described


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
