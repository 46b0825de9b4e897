"""A real HTTP server on 127.0.0.1 that behaves as badly as a test asks: ranges, cuts, hangs, lies, redirects.

    with HttpServer() as server:
        url = server.serve("/data.tsv", Reply(b"ham\\thello\\n", etag='"1"'))
        ...
        assert server.requests[-1].headers["range"] == "bytes=4-"

Each path answers with its own list of replies, one a request, and stays with the last. A HEAD request gets
the headers of the reply that a GET would get. Nothing sleeps: a server that hangs waits until it is closed.
"""

import re
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Request:
    """What the server saw; the names of `headers` in lower case."""

    method: str
    path: str  # as it stood in the request line: percent-encoding is not undone
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """One answer. Positions and lengths are bytes of the part of `body` that is sent."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)  # added to, or instead of, those made here
    etag: str | None = None  # quoted, as in the header; also what If-Range is compared with
    last_modified: str | None = None  # likewise
    ranges: bool = True  # honour Range (and If-Range) with 206 and 416
    head: int | None = None  # answer HEAD with this status
    hang: bool = False  # read the request, and never answer
    stall_after: int | None = None  # send so much of the body, then nothing, with the connection open
    cut_after: int | None = None  # send so much of the body, then close the connection
    chunked: bool = False  # Transfer-Encoding: chunked, so without Content-Length


class HttpServer:
    """Serves what `serve` was told, each connection in a thread of its own, until it is closed."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []  # in the order in which they were read
        self._replies: dict[str, list[Reply]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), _handler_for(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def serve(self, path: str, *replies: Reply) -> str:
        """Answer requests of `path` (as in the request line) with these from now on; returns its URL."""
        with self._lock:
            self._replies[path] = list(replies)
        return self.url(path)

    def seen(self, path: str) -> list[Request]:
        """The requests of one path."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def next_reply(self, request: Request) -> Reply:
        """Note the request, and take the reply whose turn it is; 404 for a path that nobody set up."""
        with self._lock:
            self.requests.append(request)
            replies = self._replies.get(request.path, [Reply(b"nothing here", status=404)])
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def wait_until_closed(self) -> None:
        self._closing.wait()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients of these tests hang up in the middle of things: that is nothing to print."""


def _handler_for(server: HttpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Tests look at `HttpServer.requests` instead."""

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, self._body())
            reply = server.next_reply(request)
            if reply.hang:
                server.wait_until_closed()
                self.close_connection = True
                return
            self._send(reply, *_part(reply, request.headers))

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server calls

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _send(self, reply: Reply, status: int, body: bytes, headers: dict[str, str]) -> None:
            is_head = self.command == "HEAD"
            self.send_response(reply.head if is_head and reply.head else status)
            length = {"Transfer-Encoding": "chunked"} if reply.chunked else {"Content-Length": str(len(body))}
            for name, value in (length | headers | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if is_head:
                return
            sent = body[: reply.cut_after if reply.stall_after is None else reply.stall_after]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent) if reply.chunked and sent else sent)
            if reply.stall_after is not None:
                server.wait_until_closed()
            if reply.cut_after is not None or reply.stall_after is not None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            elif reply.chunked:
                self.wfile.write(b"0\r\n\r\n")

    return Handler


def _part(reply: Reply, asked: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers once the request's Range and If-Range are honoured."""
    headers = {"ETag": reply.etag, "Last-Modified": reply.last_modified}
    known = {name: value for name, value in headers.items() if value is not None}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("range", ""))
    holds = asked.get("if-range") in (None, reply.etag, reply.last_modified)
    if not (reply.ranges and found and holds and reply.status == 200):
        return reply.status, reply.body, known
    start, total = int(found[1]), len(reply.body)
    if start >= total:
        return 416, b"", known | {"Content-Range": f"bytes */{total}"}
    end = min(int(found[2] or total), total - 1)
    return 206, reply.body[start : end + 1], known | {"Content-Range": f"bytes {start}-{end}/{total}"}
