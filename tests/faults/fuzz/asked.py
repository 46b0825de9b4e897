"""A scoring server without sockets: bytes in at the protocol, bytes out at a transport that keeps them.

Everything is the program's own but the engine: probabilities of a text are those of its length.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import h11
import numpy as np
from uvicorn.server import ServerState

from flows.http.app import Endpoints, application
from flows.http.batching import Manner, Turns
from flows.http.connections import Connections, Patience
from flows.http.guard import Guard, own_hosts
from flows.http.limits import Limits
from flows.http.logs import LOGGERS
from flows.http.measuring import Measured
from flows.http.metrics import Metrics
from flows.http.server import config_of
from flows.http.versions import Answering, Registered, Served
from lib.inference.predictor import Predictor
from lib.model.labels import Probabilities
from lib.progress import Progress, silent
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.windows import Texts
from tasks.registry.models import Version
from tests.faults.fuzz.allowed import Finding, require_sentence

BODIES = ("/invocations", "/explain")
METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"DELETE ")
ANSWERED = {200, 307}  # a path with a slash too many is somewhere else
REFUSED = {400, 401, 404, 405, 408, 411, 413, 414, 415, 421, 431, 499, 501, 503}
LONGEST_EXPLAINED = 200  # characters of a body that is explained: each word of it is a text


@dataclass(frozen=True)
class LengthEngine:
    """An engine that answers by how many tokens a text has."""

    name: str = "length"
    precision: str = "float64"
    labels: tuple[str, ...] = ("ham", "spam")
    on_card: bool = False

    def probabilities(self, texts: Texts, /, *, progress: Progress = silent) -> Probabilities:
        """Returns (texts, 2) float64."""
        spam = np.array([1 / (1 + len(texts[number])) for number in range(len(texts))])
        return np.stack([1 - spam, spam], axis=1)

    def begin(self, texts: Texts, /) -> Callable[[], Probabilities]:
        """As `probabilities`."""
        return lambda: self.probabilities(texts)


class Kept(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 5050)})
        self.written, self.closed = bytearray(), False

    def write(self, data: Any) -> None:
        """Keeps some bytes."""
        self.written += data

    def is_closing(self) -> bool:
        """Whether nothing more is taken."""
        return self.closed

    def close(self) -> None:
        """Takes nothing more."""
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """All of a request is given at once."""

    def resume_reading(self) -> None:
        """All of a request is given at once."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Keeps everything."""


@dataclass
class Failures(logging.Handler):
    """What the server logs as its own failure."""

    found: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the exception."""
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append(record.exc_info[1])

    __hash__ = logging.Handler.__hash__


class Server:
    """The application behind its protocol, on a loop of its own."""

    def __init__(self) -> None:
        predictor = Predictor(LengthEngine(), gpt2_tokenizer(), 64, positive="spam")
        served = Served(Registered(Version("tiny", "7"), at=0), predictor, Measured(1.0, 0.5))
        limits = Limits(body_bytes=2**16, texts=100)
        endpoints = Endpoints(Answering(served), limits, Turns(Manner(text_seconds=1e-6)), Metrics())
        app = application(endpoints, guard=Guard(own_hosts("127.0.0.1")))
        self._connections = Connections(Patience())
        self._config = config_of(app, self._connections)
        self._config.timeout_keep_alive = 0
        self._config.load()
        self._loop = asyncio.new_event_loop()
        self._failures = Failures()
        for name in LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [self._failures], False

    def ask(self, data: bytes) -> None:
        """Sends a request as it is written, or a body to each path that takes one; raises Finding for an answer that
        none may get."""
        if data.startswith(METHODS):
            self._answered(data)
            return
        for path in BODIES if len(data) <= LONGEST_EXPLAINED else BODIES[:1]:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            self._answered(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    def _answered(self, request: bytes) -> None:
        self._failures.found.clear()
        written = self._loop.run_until_complete(self._exchange(request))
        if self._failures.found:
            raise self._failures.found[0]
        require_answers(request, written)

    async def _exchange(self, request: bytes) -> bytes:
        state = ServerState()
        protocol = self._connections.protocol(config=self._config, server_state=state, app_state={})
        transport = Kept()
        protocol.connection_made(transport)
        protocol.data_received(request)
        while state.tasks and not (protocol.awaits_its_body or transport.closed):
            await asyncio.wait(list(state.tasks), timeout=0.1)
        protocol.connection_lost(None)  # the client is gone, whether it has said all or not
        while state.tasks:
            await asyncio.wait(list(state.tasks), timeout=1)
        return bytes(transport.written)


def require_answers(request: bytes, written: bytes) -> None:
    """Raises Finding unless `written` is answers of HTTP, each a value or a refusal in one sentence."""
    if not written:
        return  # to a request that is not whole
    client = h11.Connection(h11.CLIENT)
    client.send(
        h11.Request(
            method="HEAD" if request.startswith(b"HEAD ") else "POST", target="/", headers=[("Host", "localhost")]
        )
    )
    client.send(h11.EndOfMessage())
    client.receive_data(written)
    client.receive_data(b"")  # the connection's end
    status, body = 0, bytearray()
    try:
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
    except h11.RemoteProtocolError as error:
        raise Finding("an answer that is not HTTP", f"{error}: {written[:100]!r}") from error
    if status in REFUSED and body.startswith(b"{"):
        require_sentence(json.loads(body)["message"])
    elif status not in {*ANSWERED, *REFUSED}:
        raise Finding(f"status {status}", bytes(body[:200]).decode("utf-8", "replace"))


@cache
def server() -> Server:
    """The one server of this process."""
    return Server()
