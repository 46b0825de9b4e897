"""Getting the source file from real servers on 127.0.0.1, and from the disk, when all goes well and when not."""

import datetime
import errno
import fcntl
import gzip
import hashlib
import io
import ipaddress
import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib.data.source import partial
from lib.data.source.download import SIZE_LIMIT, Download, data_ending, download, identity
from lib.errors import ArchiveError, ChecksumError, MessagesError, SourceError, StoreError
from tests.support.http_server import HttpServer, Reply

TEXT = b"ham\tsee you at seven\nspam\tcall now to claim your prize\n" * 4000  # more than one network read
SHA256 = hashlib.sha256(TEXT).hexdigest()
OTHER = TEXT.replace(b"seven", b"eight")
ETAG = '"v1"'
PROJECT = Path(__file__).parents[4]
SHORT = 0.2  # seconds; for servers that never answer


def zipped(name: str = "sms.tsv", text: bytes = TEXT) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return packed.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")  # whatever proxy this machine has
    with HttpServer() as server:
        yield server


@dataclass
class Place:
    """A folder to download into, a scratch folder beside it, and what was said on the way."""

    folder: Path
    scratch: Path
    warnings: list[str] = field(default_factory=list)
    progress: list[tuple[int, int | None, str]] = field(default_factory=list)

    def get(self, *addresses: str, **options: Any) -> Download:
        return download(
            addresses,
            self.folder,
            scratch=self.scratch,
            warn=self.warnings.append,
            progress=lambda *report: self.progress.append(report),
            **options,
        )

    def fails(self, kind: type[Exception], *addresses: str, **options: Any) -> Any:
        """The error, having seen that nothing was left in `folder`."""
        with pytest.raises(kind) as caught:
            self.get(*addresses, **options)
        assert names(self.folder) == []
        assert "\n" not in str(caught.value)
        return caught.value

    def partial(self) -> bytes:
        """The one partial file."""
        (path,) = self.scratch.glob("*.part")
        return path.read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "into", tmp_path / "scratch")


# All goes well


def test_a_file_arrives_whole_and_leaves_nothing_behind(server: HttpServer, place: Place) -> None:
    address = server.serve("/sms.tsv", Reply(TEXT, etag=ETAG))
    assert place.get(address, sha256=SHA256) == Download(place.folder / "sms.tsv", address, SHA256, len(TEXT))
    assert (place.folder / "sms.tsv").read_bytes() == TEXT
    assert names(place.folder) == ["sms.tsv"]
    assert names(place.scratch) == []
    (request,) = server.requests
    assert "range" not in request.headers
    assert request.headers["accept-encoding"] == "identity"


def test_progress_counts_the_bytes_of_the_transfer(server: HttpServer, place: Place) -> None:
    packed = zipped(text=os.urandom(300_000))
    place.get(server.serve("/sms.zip", Reply(packed)))
    assert place.progress[0] == (0, len(packed), "bytes")
    assert place.progress[-1] == (len(packed), len(packed), "bytes")
    assert sorted(place.progress) == place.progress


def test_without_a_content_length_the_total_is_not_known(server: HttpServer, place: Place) -> None:
    result = place.get(server.serve("/sms.tsv", Reply(TEXT, chunked=True)))
    assert result.sha256 == SHA256
    assert {total for _, total, _ in place.progress} == {None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sms.zip", zipped()),
        ("/sms.tsv.gz", gzip.compress(TEXT)),
        ("/sms.tsv", gzip.compress(TEXT)),
        ("/sms.tsv?version=2#part", TEXT),
        ("/a/b%2Fsms.tsv", TEXT),
    ],
)
def test_the_data_file_gets_its_own_name(server: HttpServer, place: Place, path: str, body: bytes) -> None:
    server.serve(path.partition("#")[0], Reply(body))
    assert place.get(server.url(path), sha256=SHA256).file.name == "sms.tsv"
    assert (place.folder / "sms.tsv").read_bytes() == TEXT


def test_an_address_without_a_name_gives_a_file_called_data(server: HttpServer, place: Place) -> None:
    assert place.get(server.serve("/", Reply(TEXT))).file.name == "data"


@pytest.mark.parametrize(
    ("written", "sent", "name"),
    [
        ("/sms+spam+collection.tsv", "/sms+spam+collection.tsv", "sms+spam+collection.tsv"),
        ("/sms%2Bspam.tsv", "/sms%2Bspam.tsv", "sms+spam.tsv"),
        ("/sms spam.tsv", "/sms%20spam.tsv", "sms spam.tsv"),
        ("/Gr%C3%B6%C3%9Fe.tsv", "/Gr%C3%B6%C3%9Fe.tsv", "Größe.tsv"),
        ("/Größe.tsv", "/Gr%C3%B6%C3%9Fe.tsv", "Größe.tsv"),
    ],
)
def test_odd_characters_in_urls(server: HttpServer, place: Place, written: str, sent: str, name: str) -> None:
    server.serve(sent, Reply(TEXT))
    assert place.get(server.url(written)).file == place.folder / name


def test_a_file_that_the_server_packs_without_being_asked(server: HttpServer, place: Place) -> None:
    packed = Reply(gzip.compress(TEXT), headers={"Content-Encoding": "gzip"})
    assert place.get(server.serve("/sms.tsv", packed)).sha256 == SHA256
    coded = server.serve("/coded.tsv", Reply(b"?", headers={"Content-Encoding": "br"}))
    place = replace(place, folder=place.folder / "coded")
    assert "packed as 'br'" in str(place.fails(SourceError, coded))


def test_an_empty_body_is_an_empty_file(server: HttpServer, place: Place) -> None:
    result = place.get(server.serve("/empty.tsv", Reply(b"")))
    assert (result.size, result.sha256) == (0, hashlib.sha256(b"").hexdigest())
    assert names(place.folder) == ["empty.tsv"]


# Interrupted, and gone on with


def interrupted(server: HttpServer, place: Place, *then: Reply, first: Reply | None = None) -> str:
    """An address whose first answer was cut after 1,000 bytes, and which answers as `then` from now on."""
    address = server.serve("/sms.tsv", first or Reply(TEXT, etag=ETAG, cut_after=1000), *then)
    error = place.fails(SourceError, address)
    assert error.temporary
    assert "cut the connection after 1,000 bytes" in str(error)
    assert place.partial() == TEXT[:1000]
    return address


def test_a_cut_transfer_is_gone_on_with(server: HttpServer, place: Place) -> None:
    address = interrupted(server, place, Reply(TEXT, etag=ETAG))
    assert place.get(address, sha256=SHA256).size == len(TEXT)
    headers = server.requests[-1].headers
    assert (headers["range"], headers["if-range"]) == ("bytes=1000-", ETAG)
    assert (1000, len(TEXT), "bytes") in place.progress
    assert names(place.folder) == ["sms.tsv"]
    assert names(place.scratch) == []


def test_without_an_etag_the_date_is_the_condition(server: HttpServer, place: Place) -> None:
    whole = Reply(TEXT, etag='W/"weak"', last_modified="Tue, 01 Jul 2025 10:00:00 GMT")
    address = interrupted(server, place, whole, first=replace(whole, cut_after=1000))
    assert place.get(address, sha256=SHA256).size == len(TEXT)
    assert server.requests[-1].headers["if-range"] == whole.last_modified
    assert server.requests[-1].headers["range"] == "bytes=1000-"


def test_a_transfer_is_gone_on_with_as_often_as_it_is_cut(server: HttpServer, place: Place) -> None:
    parts = Reply(TEXT, etag=ETAG, cut_after=1000), Reply(TEXT, etag=ETAG, cut_after=500)
    address = server.serve("/sms.tsv", *parts, Reply(TEXT, etag=ETAG))
    for _ in parts:
        place.fails(SourceError, address)
    assert place.get(address).sha256 == SHA256
    asked = [request.headers.get("range") for request in server.requests]
    assert asked == [None, "bytes=1000-", "bytes=1500-"]


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from lib.data.source import partial
from lib.data.source.download import download
partial.NOTE_SECONDS = 0
download([sys.argv[1]], Path(sys.argv[2]), scratch=Path(sys.argv[3]), progress=lambda *done: print(done[0], flush=True))
"""


def test_another_process_goes_on_after_a_kill(server: HttpServer, place: Place) -> None:
    address = server.serve("/sms.tsv", Reply(TEXT, etag=ETAG, stall_after=100_000), Reply(TEXT, etag=ETAG))
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, address, str(place.folder), str(place.scratch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        assert process.stdout is not None
        assert any(int(line) == 100_000 for line in process.stdout)
        process.kill()
    kept = place.partial()
    assert len(kept) > 100_000 - io.DEFAULT_BUFFER_SIZE
    assert kept == TEXT[: len(kept)]
    assert place.get(address, sha256=SHA256).size == len(TEXT)
    assert server.requests[-1].headers["range"] == f"bytes={len(kept)}-"


def test_what_came_is_noted_about_once_a_second_and_at_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(partial, "write_whole", lambda file, text: notes.append(text))
    clock = iter(range(1000))
    monkeypatch.setattr(partial, "time", SimpleNamespace(monotonic=lambda: next(clock) / 10))
    with partial.claimed("https://example.org/sms.tsv", place.scratch) as begun:
        begun.start_over({"etag": ETAG})
        for _ in range(100):
            begun.append(b"12345")
    assert 8 <= len(notes) <= 12
    assert json.loads(notes[-1])["size"] == 500


@pytest.mark.parametrize(
    ("then", "requests"),
    [
        pytest.param(Reply(TEXT, etag=ETAG, ranges=False), 2, id="server without ranges"),
        pytest.param(Reply(TEXT, etag='"v2"'), 2, id="changed, and says so"),
        pytest.param(
            Reply(b"tail", 206, {"Content-Range": "bytes 1000-1003/1004", "ETag": '"v2"'}), 3, id="changed ETag"
        ),
        pytest.param(Reply(TEXT[7:], 206, {"Content-Range": "bytes 7-1/2", "ETag": ETAG}), 3, id="other range"),
        pytest.param(Reply(b"?", 206), 3, id="no Content-Range"),
        pytest.param(Reply(TEXT[:10], etag=ETAG), 3, id="shorter now: 416"),
    ],
)
def test_what_cannot_be_gone_on_with_starts_over(server: HttpServer, place: Place, then: Reply, requests: int) -> None:
    address = interrupted(server, place, then, Reply(TEXT, etag='"v2"'))
    assert place.get(address, sha256=SHA256).size == len(TEXT)
    assert server.requests[1].headers["range"] == "bytes=1000-"
    assert len(server.requests) == requests
    assert requests == 2 or "range" not in server.requests[2].headers


def test_without_a_validator_a_transfer_starts_over(server: HttpServer, place: Place) -> None:
    address = interrupted(server, place, Reply(TEXT), first=Reply(TEXT, cut_after=1000))
    assert place.get(address, sha256=SHA256).size == len(TEXT)
    assert "range" not in server.requests[-1].headers


@pytest.mark.parametrize(
    "note",
    [*("", "{", "[]", '{"etag": 1}', '{"size": 1}', '{"size": "9", "sha256": "", "validators": {}}'), None],
)
def test_a_broken_note_beside_the_partial_only_costs_the_resume(
    server: HttpServer, place: Place, note: str | None
) -> None:
    address = interrupted(server, place, Reply(TEXT, etag=ETAG))
    (path,) = place.scratch.glob("*.json")
    sha256 = hashlib.sha256(TEXT[:1000]).hexdigest()
    assert json.loads(path.read_text()) == {"size": 1000, "sha256": sha256, "validators": {"etag": ETAG}}
    path.unlink() if note is None else path.write_text(note)
    assert place.get(address, sha256=SHA256).size == len(TEXT)
    assert "range" not in server.requests[-1].headers


def test_partials_of_two_addresses_do_not_mix(server: HttpServer, place: Place) -> None:
    first = server.serve("/a/sms.tsv", Reply(TEXT, etag=ETAG, cut_after=1000), Reply(TEXT, etag=ETAG))
    second = server.serve("/b/sms.tsv", Reply(OTHER, etag=ETAG, cut_after=2000), Reply(b"", status=503))
    place.fails(SourceError, first, second)
    kept = sorted(path.read_bytes() for path in place.scratch.glob("*.part"))
    assert kept == sorted([TEXT[:1000], OTHER[:2000]])
    assert place.get(second, first).sha256 == SHA256
    assert server.seen("/b/sms.tsv")[-1].headers["range"] == "bytes=2000-"
    assert server.seen("/a/sms.tsv")[-1].headers["range"] == "bytes=1000-"
    assert names(place.scratch) == []  # that of the address that is no longer needed went too


def test_a_resumed_file_with_the_wrong_checksum_is_not_gone_on_with(server: HttpServer, place: Place) -> None:
    liar = Reply(OTHER, etag=ETAG)  # another file under the same ETag
    address = interrupted(server, place, liar, Reply(TEXT, etag=ETAG))
    place.fails(ChecksumError, address, sha256=SHA256)
    assert names(place.scratch) == []
    assert place.get(address, sha256=SHA256).size == len(TEXT)
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=1000-", None]


def test_a_partial_that_someone_else_is_writing_is_left_alone(server: HttpServer, place: Place) -> None:
    address = interrupted(server, place, Reply(TEXT, etag=ETAG))
    (path,) = place.scratch.glob("*.part")
    with path.open("a+b") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert place.get(address, sha256=SHA256).size == len(TEXT)
    assert "range" not in server.requests[-1].headers
    assert place.partial() == TEXT[:1000]


# Servers that do not give the file


HELPLESS, BUSY = (204, 206, 304, 400, 401, 403, 404, 410), (408, 429, 500, 502, 503, 504)


@pytest.mark.parametrize(
    ("status", "temporary"), [*((status, False) for status in HELPLESS), *((status, True) for status in BUSY)]
)
def test_a_status_says_whether_to_ask_again(server: HttpServer, place: Place, status: int, temporary: bool) -> None:
    address = server.serve("/sms.tsv", Reply(b"", status=status))
    error = place.fails(SourceError, address)
    assert error.temporary is temporary
    assert f"{address} answered {status}" in str(error)
    assert len(server.requests) == 1  # no retries in here


def test_a_missing_file_is_one_sentence_that_says_how_to_go_on(server: HttpServer, place: Place) -> None:
    address = server.serve("/sms%20spam.zip", Reply(status=404))
    assert str(place.fails(SourceError, address, sha256=SHA256)) == (
        f"The source file cannot be fetched: {address} answered 404 Not Found; check data.url, or fetch sms spam.zip"
        f" (sha256 of the data file: {SHA256}) by hand and say --data.url file:///path/to/sms%20spam.zip"
    )


def test_after_a_503_the_second_call_gets_the_file(server: HttpServer, place: Place) -> None:
    address = server.serve("/sms.tsv", Reply(status=503), Reply(TEXT))
    assert place.fails(SourceError, address).temporary
    assert place.get(address, sha256=SHA256).size == len(TEXT)


def test_a_server_that_never_answers(server: HttpServer, place: Place) -> None:
    error = place.fails(SourceError, server.serve("/sms.tsv", Reply(hang=True)), timeout=SHORT)
    assert error.temporary
    assert "did not answer within 0.2 s" in str(error)


def test_a_server_that_stalls_midway_is_gone_on_with(server: HttpServer, place: Place) -> None:
    address = server.serve("/sms.tsv", Reply(TEXT, etag=ETAG, stall_after=1000), Reply(TEXT, etag=ETAG))
    error = place.fails(SourceError, address, timeout=SHORT)
    assert error.temporary
    assert "sent nothing more for 0.2 s after 1,000 bytes" in str(error)
    assert place.get(address).sha256 == SHA256
    assert server.requests[-1].headers["range"] == "bytes=1000-"


def test_nobody_at_the_address(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound, but not listening: refuses for as long as it is open
        taken.bind(("127.0.0.1", 0))
        error = place.fails(SourceError, f"http://127.0.0.1:{taken.getsockname()[1]}/sms.tsv")
    assert error.temporary
    assert "cannot be reached" in str(error)


@pytest.mark.parametrize("claimed", [len(TEXT) + 5, len(TEXT) * 2])
def test_a_content_length_beyond_the_end_is_a_cut(server: HttpServer, place: Place, claimed: int) -> None:
    lie = Reply(TEXT, headers={"Content-Length": str(claimed)}, cut_after=len(TEXT))
    error = place.fails(SourceError, server.serve("/sms.tsv", lie))
    assert error.temporary
    assert f"cut the connection after {len(TEXT):,} bytes" in str(error)


def test_a_content_length_before_the_end_fails_the_checksum(server: HttpServer, place: Place) -> None:
    lie = Reply(TEXT, headers={"Content-Length": "1000", "Connection": "close"})
    error = place.fails(ChecksumError, server.serve("/sms.tsv", lie), sha256=SHA256)
    assert hashlib.sha256(TEXT[:1000]).hexdigest() in str(error)


def test_chunked_transfer_that_is_cut(server: HttpServer, place: Place) -> None:
    error = place.fails(SourceError, server.serve("/sms.tsv", Reply(TEXT, chunked=True, cut_after=1000)))
    assert error.temporary


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "not announced"])
def test_too_large_is_refused_and_not_kept(server: HttpServer, place: Place, chunked: bool) -> None:
    address = server.serve("/sms.tsv", Reply(TEXT, chunked=chunked))
    error = place.fails(SourceError, address, size_limit=len(TEXT) - 1)
    assert not error.temporary
    assert "is larger than 0.2 MiB, the most that is taken; check data.url" in str(error)
    assert "by hand" not in str(error)  # it would not help
    assert names(place.scratch) == []


def test_a_file_of_just_the_limit_is_taken(server: HttpServer, place: Place) -> None:
    assert place.get(server.serve("/sms.tsv", Reply(TEXT)), size_limit=len(TEXT)).size == len(TEXT)


def test_the_size_limit_stands_before_anything_is_written(server: HttpServer, place: Place) -> None:
    huge = Reply(TEXT, headers={"Content-Length": str(SIZE_LIMIT + 1)}, cut_after=len(TEXT))
    assert "2,048.0 MiB" in str(place.fails(SourceError, server.serve("/sms.tsv", huge)))
    assert {done for done, _, _ in place.progress} == set()


# Several addresses


def test_addresses_are_tried_in_order_until_one_answers(server: HttpServer, place: Place) -> None:
    first = server.serve("/a.tsv", Reply(status=404))
    second = server.serve("/b.tsv", Reply(status=503))
    third = server.serve("/c.tsv", Reply(TEXT))
    fourth = server.serve("/d.tsv", Reply(TEXT))
    result = place.get(first, second, third, fourth)
    assert (result.address, result.file.name) == (third, "c.tsv")
    assert [request.path for request in server.requests] == ["/a.tsv", "/b.tsv", "/c.tsv"]
    assert place.warnings == [
        f"{first} answered 404 Not Found; trying {second}",
        f"{second} answered 503 Service Unavailable; trying {third}",
    ]


def test_one_temporary_failure_makes_all_worth_a_retry(server: HttpServer, place: Place, tmp_path: Path) -> None:
    first, second = server.serve("/a.tsv", Reply(status=503)), server.serve("/b.tsv", Reply(status=404))
    error = place.fails(SourceError, first, second, str(tmp_path / "none.tsv"))
    assert error.temporary
    for part in ("a.tsv answered 503", "b.tsv answered 404", "none.tsv does not exist", "fetch a.tsv by hand"):
        assert part in str(error)


def test_a_mirror_with_a_web_page_is_passed_over_and_its_page_is_not_resumed(server: HttpServer, place: Place) -> None:
    wrong = server.serve("/a.tsv", Reply(b"<html>this site has moved</html>"))
    right = server.serve("/b.tsv", Reply(TEXT))
    assert place.get(wrong, right).address == right
    assert place.warnings[0].startswith("'a.tsv' is a web page")
    assert "'a.tsv' is a web page" in str(replace(place, folder=place.folder / "b").fails(MessagesError, wrong))
    assert names(place.scratch) == []


def test_a_mirror_with_the_wrong_file_is_passed_over(server: HttpServer, place: Place) -> None:
    wrong = server.serve("/a.tsv", Reply(OTHER))
    right = server.serve("/b.tsv", Reply(TEXT))
    assert place.get(wrong, right, sha256=SHA256).address == right
    assert "has sha256" in place.warnings[0]
    assert names(place.folder) == ["b.tsv"]


def test_wrong_bytes_are_the_error_unless_a_retry_may_still_help(server: HttpServer, place: Place) -> None:
    wrong = server.serve("/a.tsv", Reply(OTHER))
    gone, busy = server.serve("/b.tsv", Reply(status=404)), server.serve("/c.tsv", Reply(status=503))
    place.fails(ChecksumError, wrong, gone, sha256=SHA256)
    error = place.fails(SourceError, wrong, busy, sha256=SHA256)
    assert error.temporary
    assert "a.tsv has sha256" in str(error)


def test_no_address_at_all(place: Place) -> None:
    assert "there is no address; check data.url" in str(place.fails(SourceError))


# Redirects and credentials


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: HttpServer, place: Place, status: int) -> None:
    server.serve("/new/data.tsv", Reply(TEXT))
    address = server.serve("/old/sms.tsv", Reply(status=status, headers={"Location": "../new/data.tsv"}))
    result = place.get(address)
    assert (result.address, result.file.name, result.sha256) == (address, "sms.tsv", SHA256)


def test_a_resumed_transfer_asks_for_its_range_behind_the_redirect_too(server: HttpServer, place: Place) -> None:
    server.serve("/b", Reply(TEXT, etag=ETAG, cut_after=1000), Reply(TEXT, etag=ETAG))
    address = server.serve("/sms.tsv", Reply(status=302, headers={"Location": "/b"}))
    place.fails(SourceError, address)
    assert place.get(address).sha256 == SHA256
    assert server.requests[-1].headers["range"] == "bytes=1000-"


def test_a_circle_of_redirects_ends(server: HttpServer, place: Place) -> None:
    address = server.serve("/sms.tsv", Reply(status=302, headers={"Location": "/sms.tsv"}))
    error = place.fails(SourceError, address)
    assert "redirects more than 10 times" in str(error)
    assert not error.temporary
    assert len(server.requests) == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/sms.tsv"])
def test_a_redirect_out_of_http_is_not_followed(server: HttpServer, place: Place, target: str) -> None:
    error = place.fails(SourceError, server.serve("/sms.tsv", Reply(status=302, headers={"Location": target})))
    assert f"redirects from http to {target.partition(':')[0]}, which is not followed" in str(error)
    assert not error.temporary


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """An https:// server whose certificate is the only one that this process trusts."""
    pytest.importorskip("cryptography")
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(self_signed("127.0.0.1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with HttpServer(tls=context) as server:
        yield server


def self_signed(host: str) -> bytes:
    """Key and certificate, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret + certificate.public_bytes(pem)


def test_https_is_never_left_for_http(server: HttpServer, tls_server: HttpServer, place: Place) -> None:
    plain = server.serve("/sms.tsv", Reply(TEXT))
    safe = tls_server.serve("/sms.tsv", Reply(TEXT))
    upwards = server.serve("/up.tsv", Reply(status=302, headers={"Location": safe}))
    downwards = tls_server.serve("/down.tsv", Reply(status=302, headers={"Location": plain}))
    assert "redirects from https to http, which is not followed" in str(place.fails(SourceError, downwards))
    assert server.requests == []
    assert place.get(upwards).sha256 == SHA256


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_server: HttpServer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = place.fails(SourceError, tls_server.serve("/sms.tsv", Reply(TEXT)))
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert tls_server.requests == []


def test_credentials_go_to_their_host_only_and_are_never_shown(server: HttpServer, place: Place) -> None:
    server.serve("/there.tsv", Reply(TEXT))
    elsewhere = server.url("/there.tsv", host="localhost")
    server.serve("/here.tsv", Reply(status=302, headers={"Location": elsewhere}))
    result = place.get(server.url("/here.tsv", host="me:secret@127.0.0.1"))
    asked, followed = server.requests
    assert asked.headers["authorization"].startswith("Basic ")
    assert "authorization" not in followed.headers
    assert result.address == server.url("/here.tsv")

    gone = server.url("/gone.tsv", host="me:secret@127.0.0.1")
    place = replace(place, folder=place.folder / "other")
    place.get(gone, server.url("/there.tsv"))
    error = replace(place, folder=place.folder / "again").fails(SourceError, gone)
    assert "secret" not in "".join([*place.warnings, str(error)])
    assert "secret" not in str(identity([gone], member=None, sha256=None, ending_counts=False))


def test_the_environments_proxy_is_asked(server: HttpServer, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", server.url(""))
    address = server.serve("http://files.invalid/sms.tsv", Reply(TEXT)).removeprefix(server.url(""))
    assert place.get(address).sha256 == SHA256
    (request,) = server.requests
    assert request.headers["host"] == "files.invalid"


def test_a_proxy_setting_that_makes_no_sense_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:70")
    error = place.fails(SourceError, "http://files.invalid/sms.tsv")
    assert "the environment's proxy or certificate settings do not work" in str(error)


# What arrived is not the file


def test_a_wrong_checksum_says_what_was_expected_and_what_came(server: HttpServer, place: Place) -> None:
    address = server.serve("/sms.zip", Reply(zipped(text=OTHER)))
    error = str(place.fails(ChecksumError, address, sha256=SHA256))
    for part in (address, "'sms.tsv'", SHA256, hashlib.sha256(OTHER).hexdigest(), "set data.sha256"):
        assert part in error
    assert names(place.scratch) == []


def test_the_checksum_is_the_data_files_not_the_archives(server: HttpServer, place: Place) -> None:
    packed = zipped()
    address = server.serve("/sms.zip", Reply(packed))
    place.fails(ChecksumError, address, sha256=hashlib.sha256(packed).hexdigest())
    assert place.get(address, sha256=SHA256).sha256 == SHA256


def test_a_hostile_archive_leaves_nothing(server: HttpServer, place: Place, tmp_path: Path) -> None:
    error = place.fails(ArchiveError, server.serve("/sms.zip", Reply(zipped("../../evil.tsv"))))
    assert "'../../evil.tsv'" in str(error)
    assert not list(tmp_path.rglob("*evil*"))
    assert names(place.scratch) == []


def test_damage_found_late_leaves_nothing(server: HttpServer, place: Place) -> None:
    packed = bytearray(gzip.compress(os.urandom(3 * 2**20), 1))
    packed[-6] ^= 1  # of the checksum at the end: all else is fine
    assert "is damaged" in str(place.fails(ArchiveError, server.serve("/sms.tsv.gz", Reply(bytes(packed)))))
    assert names(place.scratch) == []


def test_the_named_member_is_taken(server: HttpServer, place: Place) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.tsv", OTHER)
        archive.writestr("b.tsv", TEXT)
    address = server.serve("/sms.zip", Reply(packed.getvalue()))
    assert place.get(address, member="b.tsv", sha256=SHA256).file == place.folder / "b.tsv"
    assert names(place.folder) == ["b.tsv"]


def test_a_member_unpacked_by_hand_may_have_any_name_if_its_checksum_is_known(place: Place, tmp_path: Path) -> None:
    (tmp_path / "renamed.tsv").write_bytes(TEXT)
    mine = str(tmp_path / "renamed.tsv")
    assert "is not an archive" in str(place.fails(ArchiveError, mine, member="SMSSpamCollection"))
    assert place.get(mine, member="SMSSpamCollection", sha256=SHA256).file.name == "renamed.tsv"


# Local files


def test_a_local_file_stays_where_it_is(place: Place, tmp_path: Path) -> None:
    original = tmp_path / "sms.zip"
    original.write_bytes(zipped())
    result = place.get(str(original), sha256=SHA256)
    assert result == Download(place.folder / "sms.tsv", str(original), SHA256, len(TEXT))
    assert original.exists()
    assert names(place.scratch) == []
    assert place.progress == [(original.stat().st_size, original.stat().st_size, "bytes")]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("sms+spam.tsv", "file://{}/sms+spam.tsv"),
        ("sms+spam.tsv", "file://{}/sms%2Bspam.tsv"),
        ("sms spam.tsv", "file://{}/sms%20spam.tsv"),
        ("sms spam.tsv", "file://{}/sms spam.tsv"),
        ("Größe.tsv", "file://{}/Gr%C3%B6%C3%9Fe.tsv"),
        ("a#b?c.tsv", "file://{}/a#b?c.tsv"),
        ("100%.tsv", "file://{}/100%25.tsv"),
        ("sms.tsv", "file://localhost{}/sms.tsv"),
        ("sms.tsv", "FILE://{}/sms.tsv"),
        ("sms.tsv", "file:{}/sms.tsv"),
        ("100%25.tsv", "{}/100%25.tsv"),
        ("a+b c.tsv", "{}/a+b c.tsv"),
    ],
)
def test_addresses_of_local_files(place: Place, tmp_path: Path, name: str, written: str) -> None:
    (tmp_path / name).write_bytes(TEXT)
    address = written.format(tmp_path)
    assert place.get(address).sha256 == SHA256
    assert identity([address], member=None, sha256=None, ending_counts=False) == {"file_sha256": SHA256}


def test_paths_relative_to_here_and_to_home(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sms.tsv").write_bytes(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place.get("sms.tsv").sha256 == SHA256
    assert place.get("~/sms.tsv").sha256 == SHA256
    place = replace(place, folder=tmp_path / "nobody")
    assert "~nobody-of-that-name/x does not exist" in str(place.fails(SourceError, "~nobody-of-that-name/x"))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{}/none.tsv", "none.tsv does not exist; check data.url"),
        ("file://{}/none.tsv", "none.tsv does not exist; check data.url"),
        ("{}", "is not a file"),
        ("{}/" + "a" * 300, "cannot be read (File name too long)"),
        ("file://elsewhere{}/sms.tsv", "is no address that is read here"),
        ("file://./sms.tsv", "is no address that is read here"),
        ("ftp://127.0.0.1{}/sms.tsv", "is no address that is read here"),
        ("http://127.0.0.1:port{}/sms.tsv", "is not an address that can be asked"),
        ("https:///sms.tsv", "is not an address that can be asked"),
        *(
            (f"http://{host}/sms.tsv", "is not an address that can be asked")
            for host in ("a" * 64 + ".org", "a..b", "...", "xn--a", "\ud83d.org", "℀.org")
        ),
    ],
)
def test_addresses_that_lead_nowhere(place: Place, tmp_path: Path, address: str, reason: str) -> None:
    address = address.format(tmp_path)
    error = place.fails(SourceError, address)
    assert reason in str(error)
    assert not error.temporary
    remote = address if address.startswith("http") else ""
    assert identity([address], member=None, sha256=None, ending_counts=False) == {"addresses": remote}


def test_a_local_file_may_be_too_large(place: Place, tmp_path: Path) -> None:
    (tmp_path / "sms.tsv").write_bytes(TEXT)
    error = place.fails(SourceError, str(tmp_path / "sms.tsv"), size_limit=1000)
    assert "is larger than" in str(error)
    assert not error.temporary


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_local_file_may_be_unreadable(place: Place, tmp_path: Path) -> None:
    (tmp_path / "sms.tsv").write_bytes(TEXT)
    (tmp_path / "sms.tsv").chmod(0)
    assert "cannot be read (Permission denied)" in str(place.fails(SourceError, str(tmp_path / "sms.tsv")))
    assert identity([str(tmp_path / "sms.tsv")], member=None, sha256=None, ending_counts=False) == {"addresses": ""}


def test_a_local_copy_stands_in_when_the_network_does_not_answer(
    server: HttpServer, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "sms.tsv").write_bytes(TEXT)
    assert place.get(server.url("/sms.tsv"), str(tmp_path / "sms.tsv")).address == str(tmp_path / "sms.tsv")
    assert len(place.warnings) == 1


# A full disk


ON_A_FULL_DISK = """
import sys
from pathlib import Path
from lib.data.source.download import download
from lib.errors import StoreError
address, folder, scratch = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
try:
    download([address], folder, scratch=scratch)
except StoreError as error:
    print(error, "|", *(path.name for path in folder.glob("*") if folder.exists()))
"""


@pytest.mark.parametrize("full", ["into", "scratch"])
def test_a_full_disk_is_one_sentence(server: HttpServer, place: Place, tmp_path: Path, full: str) -> None:
    """On a real file system of 1 MiB, mounted where no other process sees it."""
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path / full}"
    (tmp_path / full).mkdir()
    try:
        subprocess.run([*unshare, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody mount a small file system to fill")
    address = server.serve("/noise.tsv", Reply(os.urandom(3 * 2**20)))
    command = [*unshare, f'{mount} && exec "$@"', "sh", sys.executable, "-c", ON_A_FULL_DISK, address]
    done = subprocess.run(
        [*command, str(place.folder), str(place.scratch)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    said, _, left = done.stdout.partition("|")
    assert said.startswith(f"No space left to write into {tmp_path / full} (")
    needed = ", and the rest of the download needs 3.0 MiB" if full == "scratch" else ""
    assert f"MiB free{needed}): free some space" in said
    assert left.strip() == ""


def test_a_full_disk_is_nothing_that_another_address_could_help(server: HttpServer, place: Place) -> None:
    first, second = server.serve("/a.tsv", Reply(TEXT)), server.serve("/b.tsv", Reply(TEXT))

    def full(done: int, total: int | None, unit: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="No space left to write into"):
        download([first, second], place.folder, scratch=place.scratch, progress=full)
    assert server.seen("/b.tsv") == []


# What a cache key is made of


def test_with_a_checksum_nothing_else_tells_sources_apart(server: HttpServer) -> None:
    for address in (server.url("/sms.zip"), "/anywhere/sms.zip"):
        assert identity([address], member="a.tsv", sha256=SHA256, ending_counts=False) == {"sha256": SHA256}
    assert server.requests == []


def test_a_local_file_is_its_bytes_wherever_it_lies(tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        (folder / "sms.tsv").write_bytes(TEXT)
        found.append(
            identity(
                [str(tmp_path / "none.tsv"), str(folder / "sms.tsv")], member=None, sha256=None, ending_counts=False
            )
        )
    assert found == [{"file_sha256": SHA256}] * 2
    assert identity([str(tmp_path / "here" / "sms.tsv")], member="a.tsv", sha256=None, ending_counts=False) == {
        "file_sha256": SHA256,
        "member": "a.tsv",
    }


MODIFIED = "Tue, 01 Jul 2025 10:00:00 GMT"
STATE = {"etag": ETAG, "last_modified": MODIFIED, "content_length": str(len(TEXT))}


def test_a_remote_file_is_its_addresses_and_what_the_server_says_of_it(server: HttpServer) -> None:
    gone = server.serve("/gone.tsv", Reply(status=404))
    address = server.serve("/sms.tsv", Reply(TEXT, etag=ETAG, last_modified=MODIFIED))
    expected = {"addresses": f"{gone} {address}", "member": "a.tsv"} | STATE
    assert identity([gone, address], member="a.tsv", sha256=None, ending_counts=False) == expected
    assert [request.method for request in server.seen("/sms.tsv")] == ["HEAD"]
    server.serve("/sms.tsv", Reply(TEXT, etag='"v2"', last_modified=MODIFIED))
    assert identity([gone, address], member="a.tsv", sha256=None, ending_counts=False) == expected | {"etag": '"v2"'}


@pytest.mark.parametrize("refusal", [403, 405, 500])
@pytest.mark.parametrize("ranges", [True, False])
def test_where_head_is_refused_one_byte_is_asked_for(server: HttpServer, refusal: int, ranges: bool) -> None:
    reply = Reply(TEXT, etag=ETAG, last_modified=MODIFIED, ranges=ranges, head=refusal)
    address = server.serve("/sms.tsv", reply)
    assert identity([address], member=None, sha256=None, ending_counts=False) == {"addresses": address} | STATE
    assert [request.method for request in server.requests] == ["HEAD", "GET"]
    assert server.requests[-1].headers["range"] == "bytes=0-0"


def test_where_head_is_answered_with_nonsense_one_byte_is_asked_for(server: HttpServer) -> None:
    whole = Reply(TEXT, etag=ETAG, last_modified=MODIFIED)
    address = server.serve("/sms.tsv", Reply(headers={"no name of a header": "1"}), whole)
    assert identity([address], member=None, sha256=None, ending_counts=False) == {"addresses": address} | STATE


def test_who_does_not_answer_is_not_asked_a_second_time(server: HttpServer) -> None:
    address = server.serve("/sms.tsv", Reply(hang=True))
    found = identity([address], member=None, sha256=None, ending_counts=False, timeout=SHORT)
    assert found == {"addresses": address}
    assert [request.method for request in server.requests] == ["HEAD"]


def test_without_any_answer_only_the_addresses_remain(server: HttpServer) -> None:
    hanging, gone = server.serve("/a.tsv", Reply(hang=True)), server.serve("/b.tsv", Reply(status=404))
    found = identity([hanging, gone], member=None, sha256=None, ending_counts=False, timeout=SHORT)
    assert found == {"addresses": f"{hanging} {gone}"}


def test_a_local_copy_is_what_counts_when_the_network_does_not_answer(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "sms.tsv").write_bytes(TEXT)
    addresses = [server.url("/gone.tsv"), str(tmp_path / "sms.tsv")]
    assert identity(addresses, member=None, sha256=None, ending_counts=False) == {"file_sha256": SHA256}


# The ending, where it says the format


@pytest.mark.parametrize(
    ("addresses", "member", "expected"),
    [
        (["https://host/a.CSV"], None, {"ending": ".csv"}),
        (["/mine/a.jsonl.gz"], None, {"ending": ".jsonl"}),
        (["https://host/export?name=a.csv", "b.parquet"], None, {"ending": ".parquet"}),
        (["https://host/a.csv"], "folder/b.tsv", {"ending": ".tsv"}),
        (["file:///mine/a.csv.zip", "https://host/all.zip?x#y"], None, {"names": "a.csv.zip all.zip"}),
        (["https://host/all.zip"], "SMSSpamCollection", {"names": "all.zip"}),
    ],
)
def test_with_a_checksum_an_ending_that_counts_comes_from_the_recipe_alone(
    addresses: list[str], member: str | None, expected: dict[str, str]
) -> None:
    found = identity(addresses, member=member, sha256=SHA256, ending_counts=True)
    assert found == {"sha256": SHA256} | expected
    if "ending" in expected:
        ending = data_ending(addresses, member=member, sha256=SHA256, unpacked_name="whatever.txt")
        assert ending == expected["ending"]
    else:
        assert data_ending(addresses, member=member, sha256=SHA256, unpacked_name="In.It.NDJSON") == ".ndjson"


def test_without_a_checksum_the_ending_is_the_files_own() -> None:
    addresses = ["https://host/a.csv", "https://host/b.parquet"]
    assert data_ending(addresses, member=None, sha256=None, unpacked_name="b.parquet") == ".parquet"
    assert data_ending(addresses, member=None, sha256=None, unpacked_name="data") == ""


def test_an_ending_that_counts_is_that_of_the_local_file_that_is_there(tmp_path: Path) -> None:
    found = {}
    for name in ("a.csv", "b.tsv", "c.csv", "d.zip"):
        (tmp_path / name).write_bytes(TEXT)
        addresses = [str(tmp_path / "none.jsonl"), str(tmp_path / name)]
        found[name] = identity(addresses, member=None, sha256=None, ending_counts=True)
    assert found["a.csv"] == found["c.csv"] == {"file_sha256": SHA256, "ending": ".csv"}
    assert found["b.tsv"] == {"file_sha256": SHA256, "ending": ".tsv"}
    assert found["d.zip"] == {"file_sha256": SHA256, "names": "d.zip"}


def test_a_remote_source_is_another_one_where_its_ending_counts(server: HttpServer) -> None:
    address = server.serve("/sms.zip", Reply(status=404))
    plain, named = (identity([address], member=None, sha256=None, ending_counts=counts) for counts in (False, True))
    assert plain != named


# The real thing


@pytest.mark.data
def test_the_sms_spam_collection(real_data: Path, place: Place) -> None:
    result = place.get(
        (real_data / "sms+spam+collection.zip").as_uri(),
        member="SMSSpamCollection",
        sha256="7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
    )
    assert (result.file.name, result.size) == ("SMSSpamCollection", 477_907)
    assert names(place.folder) == ["SMSSpamCollection"]


def test_a_signed_address_has_the_key_of_its_file(
    server: HttpServer, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys = []
    for signature in ("one", "two"):
        address = server.serve(f"/a.csv?X-Amz-Date={signature}&X-Amz-Signature={signature}", Reply(TEXT, etag=ETAG))
        keys.append(identity([address], member=None, sha256=None, ending_counts=True))
        assert place.get(address).address == server.url("/a.csv")
        assert f"Signature={signature}" in server.requests[-1].path
    assert keys[0] == keys[1]
    assert "Signature" not in caplog.text


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (("set=2024&sig=a", "set=2025&sig=a"), ("set=2024&sig=a", "set=2025&sig=a")),
        (("key=a.csv", "key=b.csv"), ("key=a.csv", "key=b.csv")),
        (("${CHOICE}", "${CHOICE}"), ("set=2024", "set=2025")),
    ],
    ids=["signed", "a field that is called key", "a reference"],
)
def test_addresses_of_two_files_are_told_apart_though_they_are_shown_alike(
    written: tuple[str, str], sent: tuple[str, str], server: HttpServer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = TEXT.replace(b"hello", b"later")
    replies = [Reply(TEXT, last_modified=MODIFIED, cut_after=60), Reply(later, last_modified=MODIFIED)]
    keys = []
    for written_query, query, reply in zip(written, sent, replies, strict=True):
        monkeypatch.setenv("CHOICE", query)
        server.serve(f"/x?{query}", reply)
        address = server.url(f"/x?{written_query}")
        keys.append(identity([address], member=None, sha256=None, ending_counts=False))
        if reply is replies[0]:
            place.fails(SourceError, address)  # cut off: its beginning is kept
        else:
            assert place.get(address).file.read_bytes() == later
    assert keys[0] != keys[1]
    assert not any(hidden in f"{keys}" for hidden in ("sig=a", "key=a.csv", "b.csv"))


@pytest.mark.parametrize("fields", ["sig=", "sv=2021&se=", "token="])
def test_without_a_word_of_the_server_a_secret_counts(server: HttpServer, fields: str) -> None:
    keys = [
        identity(
            [server.serve(f"/a.csv?{fields}{last}&sig=x{last}", Reply(TEXT))],
            member=None,
            sha256=None,
            ending_counts=False,
        )
        for last in ("1", "2")
    ]
    assert keys[0]["addresses"] == keys[1]["addresses"] == server.url("/a.csv")
    assert keys[0] != keys[1]
