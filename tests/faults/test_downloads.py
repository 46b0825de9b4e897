"""Servers of data that hang, dribble, lie about lengths, change files midway, redirect in circles or send bombs."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib.data.source.compressed import RATIO_FREE_BYTES
from lib.data.source.download import Download, download
from lib.errors import ArchiveError, ChecksumError, FinetuneError, MessagesError, SourceError
from tests.faults.outcomes import Outcomes, scale
from tests.support.http_server import HttpServer, Reply

pytestmark = pytest.mark.faults

TEXT = b"ham\thello\nspam\tfree entry\n" * 40
ETAG, OTHER_ETAG = '"1"', '"2"'
TRIES = scale(1, 20)
PIECE_SECONDS = 0.02  # between two bytes: a timeout for each piece never passes


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@contextmanager
def dribbling(beginning: bytes, more: bytes) -> Iterator[str]:
    """A server that sends `beginning`, and then `more` byte by byte for ever; its address."""
    closing = threading.Event()

    def answer() -> None:
        while not closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(beginning)
                    while not closing.wait(PIECE_SECONDS):
                        connection.sendall(more)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.tsv"
        finally:
            closing.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def fetched(address: str, folder: Path, *, sha256: str | None = None, size_limit: int = 2**20) -> Download:
    return download(
        [address], folder / "data", scratch=folder / "scratch", timeout=0.3, sha256=sha256, size_limit=size_limit
    )


def refused(
    address: str,
    folder: Path,
    kind: type[FinetuneError],
    words: str,
    *,
    temporary: bool | None = None,
    size_limit: int = 2**20,
) -> None:
    """Asserts that a fetch ends in one sentence, that nothing of the file is there, and that the next try may begin."""
    with pytest.raises(kind) as error:
        fetched(address, folder, size_limit=size_limit)
    assert re.search(words, str(error.value)), error.value
    if isinstance(error.value, SourceError) and temporary is not None:
        assert error.value.temporary == temporary
    assert not list((folder / "data").glob("**/*"))


HEADERS = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "a server that sends its headers byte by byte, for ever": (HEADERS, b"X"),
    "one that sends header after header": (HEADERS, b"X: y\r\n"),
    "one that sends the file byte by byte, for ever": (HEADERS + b"Content-Length: 999999\r\n\r\n", b"h"),
    "one that sends an endless file byte by byte": (
        HEADERS + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\nh\r\n",
    ),
}


@pytest.mark.parametrize("fault", SLOW)
def test_a_slow_server_is_given_up(fault: str, tmp_path: Path, outcomes: Outcomes) -> None:
    for number in range(TRIES):
        with outcomes.trying(fault), dribbling(*SLOW[fault]) as address:
            refused(address, tmp_path / f"{number}", SourceError, r"did not answer|sent nothing more", temporary=True)


Fault = Callable[[HttpServer, Path], None]


def hangs(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(hang=True), Reply(TEXT))
    refused(server.url("/x.tsv"), folder, SourceError, "did not answer within", temporary=True)
    assert fetched(server.url("/x.tsv"), folder).file.read_bytes() == TEXT


def stalls(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(TEXT, etag=ETAG, stall_after=100), Reply(TEXT, etag=ETAG))
    refused(server.url("/x.tsv"), folder, SourceError, "sent nothing more", temporary=True)
    assert fetched(server.url("/x.tsv"), folder).file.read_bytes() == TEXT
    assert server.requests[-1].headers["range"] == "bytes=100-"


def says_too_much(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(TEXT, headers={"Content-Length": str(len(TEXT) + 9)}, cut_after=len(TEXT)))
    refused(server.url("/x.tsv"), folder, SourceError, "cut the connection", temporary=True)


def says_too_little(server: HttpServer, folder: Path) -> None:
    whole = server.serve("/whole.tsv", Reply(TEXT))
    sha256 = fetched(whole, folder / "whole").sha256
    server.serve("/x.tsv", Reply(TEXT, headers={"Content-Length": "100"}))
    with pytest.raises(ChecksumError):
        fetched(server.url("/x.tsv"), folder, sha256=sha256)
    assert not list((folder / "data").glob("**/*"))


def changes_midway(server: HttpServer, folder: Path) -> None:
    other = TEXT.replace(b"hello", b"later")
    server.serve("/x.tsv", Reply(TEXT, etag=ETAG, cut_after=100), Reply(other, etag=OTHER_ETAG))
    refused(server.url("/x.tsv"), folder, SourceError, "cut the connection", temporary=True)
    assert fetched(server.url("/x.tsv"), folder).file.read_bytes() == other  # and no mixture of both


def changes_midway_and_lies(server: HttpServer, folder: Path) -> None:
    other = TEXT.replace(b"hello", b"later")
    lie = Reply(other, etag=OTHER_ETAG, headers={"Content-Range": f"bytes 100-{len(TEXT) - 1}/{len(TEXT)}"}, status=206)
    server.serve("/x.tsv", Reply(TEXT, etag=ETAG, cut_after=100), lie, Reply(other, etag=OTHER_ETAG))
    refused(server.url("/x.tsv"), folder, SourceError, "cut the connection", temporary=True)
    assert fetched(server.url("/x.tsv"), folder).file.read_bytes() == other


def redirects_in_a_circle(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(status=302, headers={"Location": "/y.tsv"}))
    server.serve("/y.tsv", Reply(status=307, headers={"Location": "/x.tsv"}))
    refused(server.url("/x.tsv"), folder, SourceError, "redirects more than 10 times", temporary=False)


def redirects_to_a_file(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(status=302, headers={"Location": "file:///etc/hostname"}))
    refused(server.url("/x.tsv"), folder, SourceError, "redirects from http to file", temporary=False)


def redirects_to_another_host(server: HttpServer, folder: Path) -> None:
    with HttpServer() as elsewhere:
        elsewhere.serve("/x.tsv", Reply(TEXT))
        server.serve("/x.tsv", Reply(status=302, headers={"Location": elsewhere.url("/x.tsv", host="localhost")}))
        address = server.url("/x.tsv").replace("://", "://me:a-password@")
        assert fetched(address, folder).file.read_bytes() == TEXT
        assert "authorization" in server.requests[-1].headers
        assert "authorization" not in elsewhere.requests[-1].headers
        assert "a-password" not in f"{elsewhere.requests}"


def has_no_end(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(b"ham\thello\n" * 2**17, chunked=True))
    refused(server.url("/x.tsv"), folder, SourceError, "is larger than 0.1 MiB", temporary=False, size_limit=2**16)
    assert not list((folder / "scratch").glob("*.part"))


def is_packed_to_a_bomb(server: HttpServer, folder: Path) -> None:
    bomb = gzip.compress(b"\0" * (RATIO_FREE_BYTES + 2**20), compresslevel=1)
    server.serve("/x.tsv", Reply(bomb, headers={"Content-Encoding": "gzip"}))
    refused(server.url("/x.tsv"), folder, ArchiveError, "as a zip bomb does")


def is_packed_otherwise(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(b"\x1b\x00\x00", headers={"Content-Encoding": "br"}))
    refused(server.url("/x.tsv"), folder, SourceError, "packed as 'br'", temporary=False)


def is_a_page(server: HttpServer, folder: Path) -> None:
    server.serve("/x.tsv", Reply(b"<!DOCTYPE html>\n<html><body>Sign in</body></html>"))
    refused(server.url("/x.tsv"), folder, MessagesError, "web page")


FAULTS: dict[str, Fault] = {
    "a server that never answers": hangs,
    "one that stops in the middle of the file": stalls,
    "a Content-Length that is too large": says_too_much,
    "a Content-Length that is too small, with a checksum": says_too_little,
    "a file that changes between a cut and its rest": changes_midway,
    "the same, sent as the rest of the old one": changes_midway_and_lies,
    "redirects in a circle": redirects_in_a_circle,
    "a redirect to a file of this machine": redirects_to_a_file,
    "a redirect to another host, which gets no password": redirects_to_another_host,
    "a file without end": has_no_end,
    "a bomb as the encoding of the transfer": is_packed_to_a_bomb,
    "an encoding that was not asked for": is_packed_otherwise,
    "a web page with status 200": is_a_page,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves(fault: str, server: HttpServer, tmp_path: Path, outcomes: Outcomes) -> None:
    for number in range(TRIES):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        with outcomes.trying(fault):
            FAULTS[fault](server, folder)
