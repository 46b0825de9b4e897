"""A champion over HTTP: `python -m flows.serve`, until Ctrl-C or SIGTERM.

It listens on this machine only unless told otherwise, and serves the version that is champion when it starts: a new
champion is served from the next start on. What it answers is in `serving_app.py`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from flows.http.app import Limits, Served, application
from flows.servers.processes import port
from flows.terminal.program import Parser
from lib.errors import FinetuneError, ServiceError
from tasks.environment import unusable_home_is_clear
from tasks.record.mlflow_run import client
from tasks.registry.models import CLASSIFIER, find_model, load_model

HOST, PORT = "127.0.0.1", 5050
THREADS = 1  # that classify; docs/serving.md says why
WAITING = 2048  # connections that may wait to be accepted
CONNECTIONS = 1000  # at once; what is more is answered with 503
LAST_SECONDS = 10  # for requests that are being answered when the server is to stop


def main(argv: Sequence[str]) -> int:
    """Serves until told to stop; returns the exit status."""
    # From here on SIGTERM is what Ctrl-C is, also while the model is being loaded.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(_parse(argv))
    except FinetuneError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is the program's output
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def serve(options: argparse.Namespace) -> None:
    """Serves what the options say; returns, or raises KeyboardInterrupt, after a signal.

    Raises ServiceError if there is no such model, or the address is not to be had.
    """
    with listener(options.host, options.port) as place:
        tracking = client()
        with unusable_home_is_clear():
            version = find_model(tracking, CLASSIFIER, name=options.name)
            model = load_model(tracking, CLASSIFIER, version)
        served = Served(version.name, version.version, model)
        limits = Limits(body_bytes=options.max_bytes, texts=options.max_texts)
        config = uvicorn.Config(
            application(served, limits, threads=THREADS),
            log_level="warning",
            server_header=False,
            lifespan="off",
            backlog=WAITING,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=LAST_SECONDS,
        )
        # From here on a request is accepted, and answered as soon as the loop below runs.
        _listen(place, options.host, options.port)
        shown = f"[{options.host}]" if ":" in options.host else options.host
        print(  # noqa: T201
            f"{served.name} version {served.version} answers at http://{shown}:{options.port};"
            " a new champion is served after a restart; Ctrl-C stops it",
            flush=True,
        )
        uvicorn.Server(config).run(sockets=[place])


def listener(host: str, port: int) -> socket.socket:
    """A socket with that address that does not accept anything yet; raises ServiceError if it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        place = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # a name that nobody knows, or one that cannot be a name
        reason = error.strerror if isinstance(error, OSError) else "not a host's name"
        raise ServiceError(f"{host!r} is no address of this machine ({reason}): choose another --host") from None
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind(address)
    except OSError as error:
        place.close()
        raise _unusable(host, port, error) from None
    return place


def _listen(place: socket.socket, host: str, port: int) -> None:
    try:
        place.listen(WAITING)
    except OSError as error:  # somebody else was faster
        raise _unusable(host, port, error) from None


def _unusable(host: str, port: int, error: OSError) -> ServiceError:
    return ServiceError(
        f"port {port} of {host} cannot be used ({os.strerror(error.errno or 0)}): stop what listens there, or choose"
        " another (--port, --host)"
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m flows.serve", description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", help="the registered model (default: the one registered last)")
    parser.add_argument("--host", default=HOST, help=f"the address to listen at (default: {HOST}, this machine only)")
    parser.add_argument("--port", type=port, default=PORT, help=f"default: {PORT}")
    parser.add_argument(
        "--max-bytes", type=_amount, default=Limits.body_bytes, help=f"of a request (default: {Limits.body_bytes})"
    )
    parser.add_argument(
        "--max-texts", type=_amount, default=Limits.texts, help=f"of a request (default: {Limits.texts})"
    )
    return parser.parse_args(argv)


def _amount(text: str) -> int:
    if not text.isdecimal() or (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount: choose a whole number from 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
