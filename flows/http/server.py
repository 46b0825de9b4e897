"""Serves a registered model: binds its socket, loads the champion, and answers with whichever version is champion."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from mlflow import MlflowClient
from starlette.types import ASGIApp

from flows.http.app import Endpoints, Work, application
from flows.http.batching import Turns
from flows.http.comparing import Comparison
from flows.http.connections import Connections, Patience
from flows.http.following import Follower
from flows.http.guard import Guard, own_hosts, read_keys
from flows.http.limits import Limits
from flows.http.logs import log_as_json
from flows.http.metrics import Metrics
from flows.http.observed import Observed
from flows.http.versions import Answering, Served, Share, champion_of, load, version_of
from lib.errors import ServiceError
from lib.files.open_files import may_open
from lib.processes.stopping import signals_heard
from tasks.record.mlflow_run import client
from tasks.registry.models import CLASSIFIER, find_model
from tasks.use.serving import ServingRuns

WAITING = 2048  # connections that may wait to be accepted
OPEN_FILES = 8192  # that this process may have; the system's usual 1,024 are hardly more than its connections
LAST_SECONDS = 30  # for requests that are being answered when the server is to stop
# That a connection is kept: longer than clients and proxies keep one, so that none is cut as they use it.
IDLE_SECONDS = 75


def serve(options: argparse.Namespace) -> None:
    """Serves what the options say; returns after a signal. Raises ServiceError if there is no such model or version, or
    the address is not free."""
    log_as_json(sys.stderr, texts=options.log_texts)
    keys = None if options.api_keys is None else read_keys(options.api_keys)
    guard = Guard(own_hosts(options.host, options.allow_host), keys)
    connections = Connections(Patience(at_once=options.connections, of_one_client=options.connections_of_one_client))
    may_open(OPEN_FILES)
    with listener(options.host, options.port) as place:
        tracking = client()
        name = find_model(tracking, CLASSIFIER, name=options.name).name
        answering = Answering(load(tracking, champion_of(tracking, name)))
        with _application(options, tracking, answering, guard, connections) as app:
            # From here on a request is accepted, and answered as soon as the loop below runs.
            _listen(place, options.host, options.port)
            shown = f"[{options.host}]" if ":" in options.host else options.host
            served, when = answering.champion, _when(options.check)
            print(  # noqa: T201
                f"{name} version {served.version} answers at http://{shown}:{options.port}; with"
                f" {served.engine['name']} in {served.engine['precision']} {served.measured}; a new champion is served"
                f" {when}; Ctrl-C stops it",
                flush=True,
            )
            _answer(uvicorn.Server(config_of(app, connections)), place)


def _answer(server: uvicorn.Server, place: socket.socket) -> None:
    """Answers until a signal, and what has been asked until then."""

    def stop() -> None:
        server.should_exit = True

    with signals_heard(stop):
        server.run(sockets=[place])


def config_of(app: ASGIApp, connections: Connections) -> uvicorn.Config:
    """Returns how uvicorn serves the application."""
    return uvicorn.Config(
        app,
        http=connections.protocol,  # type: ignore[arg-type]  # which is called as the class of a protocol is
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=WAITING,
        limit_concurrency=connections.patience.at_once + 1,  # with that of the request itself
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


def _when(check: float) -> str:
    return f"within {check:g} seconds of its promotion" if check else "after a restart"


@contextmanager
def _application(
    options: argparse.Namespace, tracking: MlflowClient, answering: Answering, guard: Guard, connections: Connections
) -> Iterator[Observed]:
    """The application over the champion and the versions beside it, with what goes on behind the requests."""
    name, metrics = answering.champion.name, Metrics()
    behind: list[Work] = [connections.watch]
    delay = options.delay / 1000
    turns = Turns(answering.champion.measured.manner(delay), metrics.batch)
    metrics.champion(answering.champion)

    def switched(served: Served) -> None:
        turns.change(served.measured.manner(delay))
        metrics.champion(served)

    if options.check:
        find, load_one = partial(champion_of, tracking, name), partial(load, tracking)
        behind.append(Follower(answering, find, load_one, options.check, switched).run)
    with ServingRuns() as runs:
        comparison = None
        if options.share or options.shadow:
            shadow = None
            if options.share:
                version, part = options.share
                answering.share = Share(load(tracking, version_of(tracking, name, version)), part)
            if options.shadow:
                shadow = load(tracking, version_of(tracking, name, options.shadow))
            comparison = Comparison(turns, metrics, runs.record, shadow)
            behind.append(comparison.run)
        limits = Limits(body_bytes=options.max_bytes, texts=options.max_texts)
        endpoints = Endpoints(answering, limits, turns, metrics, comparison, options.log_texts)
        access_log = options.access_log or options.log_texts
        yield application(endpoints, behind=behind, guard=guard, access_log=access_log)


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
