"""Serves a champion: binds its socket, loads the model, and answers with the version that is champion then."""

from __future__ import annotations

import argparse
import os
import socket
import sys

import uvicorn

from flows.http.app import application
from flows.http.batching import Manner, Turns
from flows.http.limits import Limits
from flows.http.logs import log_as_json
from flows.http.metrics import Metrics
from flows.http.versions import load
from lib.errors import ServiceError
from tasks.record.mlflow_run import client
from tasks.registry.models import CLASSIFIER, find_model

WAITING = 2048  # connections that may wait to be accepted
CONNECTIONS = 1000  # at once; what is more is answered with 503
LAST_SECONDS = 30  # for requests that are being answered when the server is to stop


def serve(options: argparse.Namespace) -> None:
    """Serves what the options say; returns, or raises KeyboardInterrupt, after a signal. Raises ServiceError if there
    is no such model, or the address is not free."""
    log_as_json(sys.stderr)
    with listener(options.host, options.port) as place:
        tracking = client()
        served = load(tracking, find_model(tracking, CLASSIFIER, name=options.name))
        limits = Limits(body_bytes=options.max_bytes, texts=options.max_texts)
        metrics = Metrics()
        config = uvicorn.Config(
            application(served, limits, Turns(Manner(), metrics.batch), metrics, access_log=options.access_log),
            log_config=None,
            access_log=False,
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
    """A socket with that address that does not accept anything yet; raises ServiceError if the address is not free."""
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
