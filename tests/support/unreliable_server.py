"""A server that is sometimes away: passes requests on to a real one, until a test says otherwise."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

# What becomes of a request: passed on; passed on and the answer kept back (`lost`); answered late, with an error, with
# a page of somebody else's, with nothing, or never; refused, as by a machine on which nothing listens.
Mode = Literal["well", "lost", "slow", "500", "html", "empty", "silent", "away"]
PAGE = b"<html><body>Sign in to this network</body></html>"
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}  # of one connection


class UnreliableServer:
    """The server at `url`, in front of the one at `behind`. Requests are counted from 1 since `behave`; a web socket is
    one, and is cut when a later request is treated."""

    def __init__(self, behind: str, slow: float = 5.0) -> None:
        self.behind, self.slow = urlsplit(behind), slow  # seconds that an answer is late
        self.requests: list[str] = []  # their methods and paths
        self._mode: Mode = "well"
        self._from = self._until = 0.0
        self._guard, self._released = threading.Lock(), threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._web_sockets: list[socket.socket] = []
        self._port = 0
        self._listen()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def behave(self, mode: Mode = "well", *, after: int = 0, during: float = float("inf")) -> None:
        """Treats requests like this from now on: those that come after so many, and so many of them."""
        self._released.set()  # who waits for an answer gets none
        with self._guard:
            self._released = threading.Event()
            self._mode, self._from, self._until = mode, after, after + during
            self.requests = []
        if mode == "away" and after == 0:
            self._close()
        else:
            self._listen()

    def opened(self, *ends: socket.socket) -> None:
        """Keeps both ends of a web socket, to be cut."""
        with self._guard:
            self._web_sockets += ends

    def _cut(self) -> None:
        for end in self._web_sockets:
            with suppress(OSError):  # it is closed already
                end.shutdown(socket.SHUT_RDWR)
        self._web_sockets.clear()

    def mode_of(self, request: str) -> tuple[Mode, threading.Event]:
        """What becomes of this request."""
        with self._guard:
            self.requests.append(request)
            treated = self._mode != "well" and self._from < len(self.requests) <= self._until
            if treated:
                self._cut()
            return (self._mode if treated else "well"), self._released

    def close(self) -> None:
        """Ends it."""
        self._released.set()
        self._close()

    def _listen(self) -> None:
        if self._server is None:
            answers = {f"do_{method}": _Handler.answer for method in ("GET", "POST", "PUT", "PATCH", "DELETE")}
            handler = type("Handler", (_Handler,), {"proxy": self, **answers})
            self._server = _Server(("127.0.0.1", self._port), handler)
            self._port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _close(self) -> None:
        self._cut()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    proxy: UnreliableServer

    def answer(self) -> None:
        """Answers a request as the proxy's mode says."""
        body = self._body()
        mode, released = self.proxy.mode_of(f"{self.command} {self.path}")
        if mode == "slow":
            time.sleep(self.proxy.slow)
        elif mode == "silent":
            released.wait(120)
        elif mode == "500":
            self._send(500, {"Content-Type": "text/plain"}, b"out of order")
        elif mode == "html":
            self._send(200, {"Content-Type": "text/html"}, PAGE)
        elif mode == "empty":
            self._send(200, {"Content-Type": "application/json"}, b"{}" if len(self.path) % 2 else b"")
        if self.headers.get("Upgrade") == "websocket":
            if mode in ("well", "slow"):
                self._pass_on_both_ways()
        elif mode in ("well", "slow", "lost"):
            status, headers, content = self._passed_on(body)
            if mode != "lost":
                self._send(status, headers, content)
        self.close_connection = True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        behind = http.client.HTTPConnection(self.proxy.behind.hostname or "", self.proxy.behind.port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            behind.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
            answer = behind.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
            return answer.status, kept, answer.read()
        finally:
            behind.close()

    def _pass_on_both_ways(self) -> None:
        """Passes on what client and server of a web socket say to each other, until one of them has gone."""
        behind = self.proxy.behind
        with socket.create_connection((behind.hostname or "", behind.port or 80)) as server:
            self.proxy.opened(self.connection, server)
            server.sendall(f"{self.requestline}\r\n{self.headers}".encode())  # the headers end with an empty line
            back = threading.Thread(target=_pump, args=(server, self.connection), daemon=True)
            back.start()
            _pump(self.connection, server)
            back.join()

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # one of them has gone
        while data := source.recv(2**16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def unreliable(behind: str, *, slow: float = 5.0) -> Iterator[UnreliableServer]:
    """An unreliable server in front of the one at `behind`, until the block ends."""
    server = UnreliableServer(behind, slow)
    try:
        yield server
    finally:
        server.close()
