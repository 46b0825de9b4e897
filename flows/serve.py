"""Serve a champion over HTTP, until Ctrl-C or SIGTERM; on this machine only unless told otherwise."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from flows.http.limits import Limits
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser, port
from tasks.environment import tracking_uri, without_password

HOST, PORT = "127.0.0.1", 5050


def main(argv: Sequence[str]) -> int:
    """Serves until told to stop; returns the exit status."""
    # From here on SIGTERM is what Ctrl-C is, also while the model is being loaded.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return exit_status_of(lambda: _serve(argv))


def _serve(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    announce(f"finetune serve: loads a champion that is registered in {without_password(tracking_uri())}")
    try:
        from flows.http.server import serve

        serve(options)
    except KeyboardInterrupt:
        pass
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
    parser.add_argument(
        "--access-log", action="store_true", help="log each request to standard error, one JSON object a line"
    )
    return parser


def _amount(text: str) -> int:
    if not text.isdecimal() or (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount: choose a whole number from 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
