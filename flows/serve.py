"""Serve a champion over HTTP, until Ctrl-C or SIGTERM; on this machine only unless told otherwise."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.http.limits import CONNECTIONS, OF_ONE_CLIENT, Limits
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser, port
from lib.errors import RecipeError
from tasks.environment import tracking_uri

HOST, PORT = "127.0.0.1", 5050
CHECK, DELAY = 5.0, 1.0  # seconds, milliseconds; docs/serving.md says what the second is worth


def main(argv: Sequence[str]) -> int:
    """Serves until told to stop; returns the exit status."""
    return exit_status_of(lambda: _serve(argv), seconds=None)  # requests that are being answered have time


def _serve(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    if options.new_key is not None:
        return _new_key(options)
    announce(f"finetune serve: loads a champion that is registered in {tracking_uri()}")
    try:
        from flows.http.server import serve

        serve(options)
    except KeyboardInterrupt:  # while the model was being loaded
        pass
    return 0


def _new_key(options: argparse.Namespace) -> int:
    from flows.http.guard import add_key

    if options.api_keys is None:
        raise RecipeError("--new-key needs a file for the key's hash: add --api-keys FILE")
    print(add_key(options.api_keys, options.new_key))  # noqa: T201 - this is the program's output
    announce(f"{options.api_keys} has the hash of this key; the key itself is kept nowhere")
    return 0


def parser() -> Parser:
    """The flags."""
    parser = Parser(prog="finetune serve", description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", help="the registered model (default: the one registered last)")
    parser.add_argument("--host", default=HOST, help=f"the address to listen at (default: {HOST}, this machine only)")
    parser.add_argument("--port", type=port, default=PORT, help=f"default: {PORT}")
    parser.add_argument(
        "--max-bytes", type=_amount, default=Limits.body_bytes, help=f"of a request (default: {Limits.body_bytes})"
    )
    parser.add_argument(
        "--max-texts", type=_amount, default=Limits.texts, help=f"of a request (default: {Limits.texts})"
    )
    parser.add_argument("--connections", type=_amount, default=CONNECTIONS, help=f"at once (default: {CONNECTIONS})")
    parser.add_argument(
        "--connections-of-one-client",
        type=_amount,
        default=OF_ONE_CLIENT,
        help=f"of the same address, such as a proxy's (default: {OF_ONE_CLIENT})",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that requests may be for, besides this machine's own and --host; again for others, * for any",
    )
    parser.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="ask for a key; the file has their hashes, made with --new-key"
    )
    parser.add_argument(
        "--new-key", metavar="NAME", help="make a key, add its hash to the file of --api-keys, print it, and end"
    )
    parser.add_argument(
        "--check",
        type=_number,
        default=CHECK,
        metavar="SECONDS",
        help=f"how often a new champion is looked for; 0: never (default: {CHECK:g})",
    )
    parser.add_argument(
        "--share",
        type=_share,
        metavar="VERSION=PART",
        help="another version that answers a part of the requests, 0.1 for a tenth, chosen by their X-Request-ID",
    )
    parser.add_argument(
        "--shadow",
        metavar="VERSION",
        help="another version that is asked the same, and whose answers are only compared",
    )
    parser.add_argument(
        "--delay",
        type=_number,
        default=DELAY,
        metavar="MILLISECONDS",
        help="how long a turn waits for as many requests as the one before it had, where classifying them together pays"
        f" (default: {DELAY:g})",
    )
    parser.add_argument(
        "--access-log", action="store_true", help="log each request to standard error, one JSON object a line"
    )
    parser.add_argument(
        "--log-texts", action="store_true", help="the same with their texts, and with the words of exceptions"
    )
    return parser


def _amount(text: str) -> int:
    if not text.isdecimal() or (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount: choose a whole number from 1")
    return number


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return number


def _share(text: str) -> tuple[str, float]:
    version, _, part = text.partition("=")
    try:
        share = float(part)
    except ValueError:
        share = 0.0
    if not version or not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write VERSION=PART with a part up to 1, such as 2=0.1")
    return version, share


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
