"""Connections over real sockets: half a request, and a thousand of them, do not keep others from being answered."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn

from flows.http import connections
from flows.http.app import Endpoints, application
from flows.http.batching import Manner, Turns
from flows.http.connections import Connections, Patience, client_of
from flows.http.limits import Limits
from flows.http.metrics import Metrics
from flows.http.server import config_of, listener
from flows.http.versions import Answering, Served

HALF_A_HEADER = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Ty"
HALF_A_BODY = (
    b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
)
MANY = 1010
each_half = pytest.mark.parametrize("half", [HALF_A_HEADER, HALF_A_BODY, b""], ids=["header", "body", "nothing"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Patience:
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.02)
    return Patience(header=0.2, body=0.4)


@contextmanager
def serving(served: Served, patience: Patience) -> Iterator[tuple[str, int]]:
    """The address of a server in this process."""
    open_ones = Connections(patience)
    endpoints = Endpoints(Answering(served), Limits(), Turns(Manner()), Metrics())
    watched = application(endpoints, behind=[open_ones.watch])
    with listener("127.0.0.1", 0) as place:
        place.listen(2048)
        server = uvicorn.Server(config_of(watched, open_ones))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            yield place.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def connected(stack: ExitStack, address: tuple[str, int], sent: bytes) -> socket.socket:
    client = stack.enter_context(socket.create_connection(address, timeout=60))
    client.sendall(sent)
    return client


def received(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    try:
        while block := client.recv(2**16):
            found += block
    except ConnectionResetError:
        pass
    return found


def one_ping(client: socket.socket) -> bool:
    """Whether one whole answer to a ping comes, after which the connection is as before."""
    found = b""
    while not found.endswith(b"\r\n\r\n\n") and (block := client.recv(2**16)):
        found += block
    return found.startswith(b"HTTP/1.1 200 OK\r\n")


@each_half
def test_a_thousand_halves_of_requests_lock_nobody_out(served: Served, half: bytes) -> None:
    with serving(served, Patience()) as (host, port), ExitStack() as stack:
        for number in range(MANY):
            connected(stack, (host, port), half)
            if number % 100 == 0 or number > MANY - 5:
                answer = httpx.post(f"http://{host}:{port}/invocations", json={"inputs": ["a"]}, trust_env=False)
                assert answer.status_code == 200, answer.text
        assert httpx.get(f"http://{host}:{port}/ping", trust_env=False).status_code == 200


@each_half
def test_half_a_request_is_given_up(served: Served, impatient: Patience, half: bytes) -> None:
    with serving(served, impatient) as address, ExitStack() as stack:
        assert received(connected(stack, address, half)).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_request_that_comes_in_drops_is_given_up(served: Served, impatient: Patience) -> None:
    with serving(served, impatient) as address, ExitStack() as stack:
        client = connected(stack, address, b"GET /ping HTTP/1.1\r\nX-A: ")
        client.settimeout(0.01)
        said = None
        while said is None:
            client.sendall(b"a")
            with suppress(TimeoutError):
                said = client.recv(1000)
        assert said.startswith(b"HTTP/1.1 408 ")


def test_an_answer_before_the_whole_body_is_not_followed_by_another(served: Served, impatient: Patience) -> None:
    with serving(served, impatient) as address, ExitStack() as stack:
        said = received(connected(stack, address, HALF_A_BODY.replace(b"application/json", b"text/plain")))
    assert said.startswith(b"HTTP/1.1 415 ")
    assert b"408" not in said


def test_a_connection_that_was_answered_waits_for_the_next_request(served: Served, impatient: Patience) -> None:
    ask = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(served, impatient) as address, ExitStack() as stack:
        kept = connected(stack, address, ask)
        assert one_ping(kept)
        received(connected(stack, address, HALF_A_BODY))  # takes as long as the server has patience
        kept.sendall(ask)
        assert one_ping(kept)


def test_a_client_with_too_many_connections_loses_its_own(served: Served) -> None:
    with serving(served, Patience(at_once=50, of_one_client=2)) as address, ExitStack() as stack:
        first = connected(stack, address, HALF_A_HEADER)
        second = connected(stack, address, HALF_A_HEADER)
        connected(stack, address, HALF_A_HEADER)
        assert received(first) == b""  # the oldest
        second.sendall(b"pe: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert received(second).startswith(b"HTTP/1.1 400 ")


def test_what_is_being_answered_is_never_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()
    predictions = Turns.predictions

    async def slow(self: Turns, *arguments: Any) -> Any:
        asked.set()
        assert await asyncio.to_thread(answer.wait, 60)
        return await predictions(self, *arguments)

    monkeypatch.setattr(Turns, "predictions", slow)
    header = HALF_A_BODY.replace(b"Content-Length: 99\r\n\r\n{", b"Content-Length: 17\r\nConnection: close\r\n\r\n")
    with serving(served, Patience(at_once=2)) as address, ExitStack() as stack:
        client = connected(stack, address, header + b'{"inputs": ["a"]}')
        assert asked.wait(60)
        others = [connected(stack, address, HALF_A_HEADER) for _ in range(5)]
        assert received(others[0]) == b""
        answer.set()
        assert received(client).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("192.0.2.1", 4), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 4, 0, 0), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 4, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 4, 0, 2), "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_counts_as_one_client(peer: Any, client: str) -> None:
    assert client_of(peer) == client
