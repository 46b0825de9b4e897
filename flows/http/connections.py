"""Keeps a place free for whoever asks: half a request may not hold a connection for ever, nor one client all of them.

What is sent slowly, or not at all, is given up after a time, and where there are too many connections the one that has
waited longest for its own client goes first. Whole requests that are being answered are never given up.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from flows.http.limits import CONNECTIONS, OF_ONE_CLIENT

SWEEP_SECONDS = 1.0  # between two looks for what is too slow
NETWORK_BITS = 64  # of an IPv6 address: what a client has is a network
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Patience:
    """How many connections there may be, and how many seconds the parts of a request may take to come.

    at_once: in all. of_one_client: of the same address, which behind a proxy is the proxy's. header: from the
    connection, or a request's first byte, to the end of its header. body: from the same to the end of its body.
    """

    at_once: int = CONNECTIONS
    of_one_client: int = OF_ONE_CLIENT
    header: float = 10.0
    body: float = 30.0


@dataclass(eq=False)
class Connections:
    """The connections that are open, each with its limits."""

    patience: Patience
    _open: set[Connection] = field(default_factory=set)
    _of_clients: Counter[str] = field(default_factory=Counter)

    def protocol(self, **of_the_server: Any) -> Connection:
        """Makes the protocol of a new connection, as uvicorn asks for it."""
        return Connection(_Protocol(**of_the_server), self, asyncio.get_running_loop().time)

    async def watch(self) -> None:
        """Gives up what is too slow, until it is cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            for connection in list(self._open):
                if connection.since is not None and now - connection.since > self._allowed(connection):
                    connection.give_up(TOO_SLOW)

    def _allowed(self, connection: Connection) -> float:
        return self.patience.body if connection.awaits_its_body else self.patience.header

    def opened(self, connection: Connection) -> None:
        """Takes a new connection in; gives up one that waits where there are too many."""
        self._open.add(connection)
        self._of_clients[connection.client] += 1
        if self._of_clients[connection.client] > self.patience.of_one_client:
            self._give_up_one([each for each in self._open if each.client == connection.client])
        if len(self._open) > self.patience.at_once:
            self._give_up_one(self._open)

    def closed(self, connection: Connection) -> None:
        """Forgets a connection; again, where it was given up before."""
        if connection in self._open:
            self._open.discard(connection)
            self._of_clients[connection.client] -= 1
            if not self._of_clients[connection.client]:
                del self._of_clients[connection.client]

    def _give_up_one(self, those: Any) -> None:
        """Gives up the one whose request is the oldest that is not whole, or else one that nothing is asked of; where
        all are being answered none, and the server says that it is too busy."""
        waiting = [each for each in those if not each.is_answered]
        half = [each for each in waiting if each.since is not None]
        chosen = min(half or waiting, key=lambda each: each.since or each.quiet_since, default=None)
        if chosen is not None:
            chosen.give_up()


class Connection(asyncio.Protocol):
    """One connection: uvicorn's protocol, and since when its request is not whole."""

    def __init__(self, inner: H11Protocol, connections: Connections, now: Callable[[], float]) -> None:
        self._inner, self._connections, self._now = inner, connections, now
        self._transport: asyncio.Transport | None = None
        self.client = ""
        self.quiet_since = now()
        self.since: float | None = self.quiet_since  # of a request that is not whole; None: nothing is awaited

    @property
    def awaits_its_body(self) -> bool:
        """Whether the header of a request has come, and the rest has not."""
        return self._inner.conn.their_state is h11.SEND_BODY

    @property
    def is_answered(self) -> bool:
        """Whether a whole request is being answered."""
        cycle = self._inner.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def give_up(self, last_words: bytes = b"") -> None:
        """Closes the connection, with an answer where none has begun."""
        assert self._transport is not None, "it was opened"
        self._connections.closed(self)
        if last_words and not (self.awaits_its_body and self._inner.cycle.response_started):
            self._transport.write(last_words)
            self._transport.close()
        else:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to wait for a request."""
        assert isinstance(transport, asyncio.Transport), "of a stream"
        self._transport, self.client = transport, client_of(transport.get_extra_info("peername"))
        self._inner.connection_made(transport)
        self._connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """Takes some bytes more of a request."""
        if self.since is None:
            self.since = self._now()
        self._inner.data_received(data)
        if self.is_answered or self._is_between_requests():
            self.quiet_since = self.since
            self.since = None

    def _is_between_requests(self) -> bool:
        """Whether nothing of a request has come; one that was refused before it was whole may just have ended."""
        return self._inner.conn.their_state is h11.IDLE and not self._inner.conn.trailing_data[0]

    def eof_received(self) -> None:
        """The client sends nothing more."""
        self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends the request, if there was one."""
        self._connections.closed(self)
        self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._inner.resume_writing()


class _Protocol(H11Protocol):
    """uvicorn's protocol; what is no HTTP it answers itself."""

    def send_400_response(self, msg: str) -> None:
        """Answers, and lets nothing be sent after it: the application may have begun to answer the request's header."""
        super().send_400_response(msg)
        if self.cycle is not None:
            self.cycle.disconnected = True


def client_of(peer: Any) -> str:
    """Returns what counts as one client: an IPv4 address, or the network of an IPv6 address."""
    host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return f"{address.ipv4_mapped or ipaddress.ip_network((int(address), NETWORK_BITS), strict=False)}"
