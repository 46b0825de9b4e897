"""Wraps the application: every request has an id, is refused where it may not ask, is counted, and is logged where that
is asked for."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.http.errors import error_response
from flows.http.guard import Guard, Refusal
from flows.http.logs import log
from flows.http.metrics import Metrics

HEADER = b"x-request-id"
SENSIBLE = re.compile(rb"[\x21-\x7e]{1,128}")  # an id of the client's; anything else is replaced
OTHER = "other"  # all paths that are not served: a client can think of as many as it likes
NOTES = "finetune.notes"  # in a request's scope: what its log line says besides
ID = "finetune.request"  # the same: its id


@dataclass(frozen=True)
class Observed:
    """The application, observed.

    paths: those that it serves. guard: who may ask. access_log: whether each request is logged.
    """

    app: ASGIApp
    paths: Collection[str]
    metrics: Metrics
    guard: Guard
    access_log: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        headers = dict(scope["headers"])  # of a name that is there twice the last; a second host is refused before
        request, status = request_id(headers), 0
        notes: dict[str, Any] = {}
        scope[ID], scope[NOTES] = request, notes

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((HEADER, request.encode()))
            await send(message)

        refusal = self.guard.refusal(scope["path"], headers)
        try:
            await (self.app if refusal is None else refused(refusal))(scope, receive, answer)
        except Exception as error:
            log(logging.ERROR, "failed to answer", request=request, error=error)
            if not status:
                raise
        finally:
            seconds = perf_counter() - began
            path = scope["path"] if scope["path"] in self.paths else OTHER
            status = status or HTTPStatus.INTERNAL_SERVER_ERROR  # which the server answers by itself
            self.metrics.request(path, status, seconds)
            if self.access_log:
                told = {"method": scope["method"], "path": path, "status": status, **notes}
                log(logging.INFO, "request", request=request, **told, milliseconds=round(1000 * seconds, 3))


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's own id of the request (`X-Request-ID`) where it is a sensible one, or a new one."""
    given = headers.get(HEADER, b"")
    return str(given, "ascii") if SENSIBLE.fullmatch(given) else uuid.uuid4().hex


def refused(refusal: Refusal) -> ASGIApp:
    """What answers a request that is not let in."""
    return error_response(refusal.status, refusal.sentence, refusal.headers)
