"""Fetches one file over HTTP into a partial file that a later call resumes; never retries or waits by itself."""

import logging
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import httpx

from lib.data.source.partial import Partial
from lib.files.disk import require_space
from lib.progress import Progress
from lib.secrets import Address

REDIRECT_LIMIT = 10
WATCHED_TIMEOUTS = 2  # as many times the timeout has a server to send what `LEAST_SPEED` asks for
LEAST_SPEED = 100  # bytes a second: less is a server that holds on to its clients
# What httpx raises for an address that is none; UnicodeError for a host that cannot be one, such as a name whose part
# between two dots has more than 63 characters (RFC 1035, 2.3.4), or half a character.
MALFORMED = (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)

OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 200, 206, 416
TEMPORARY_REFUSALS = (408, 429)  # request timeout, too many requests
SERVER_ERRORS = 500  # and above: temporary too

# Without transfer compression, ranges and lengths count the file's bytes.
AS_IT_IS = {"Accept-Encoding": "identity"}
# If a server compresses nonetheless, gzip is unpacked later like any gzip file; other encodings cannot be read.
READABLE_ENCODINGS = ("", "identity", "gzip", "x-gzip")


class AddressError(Exception):
    """Why an address failed, as the rest of a sentence that begins with the address. `temporary`: a retry may help.
    `by_hand`: so may fetching the file in another way."""

    def __init__(self, reason: str, *, temporary: bool = False, by_hand: bool = True) -> None:
        super().__init__(reason)
        self.temporary = temporary
        self.by_hand = by_hand


def fetch(address: str, partial: Partial, *, size_limit: int, timeout: float, progress: Progress) -> None:
    """Completes `partial` from `address`, with only the rest of the file where the server allows that.

    Args:
        address: an http:// or https:// URL.
        partial: from `claimed`; keeps its bytes when the transfer breaks off.
        size_limit: bytes of the file.
        timeout: seconds without any byte from the server: to connect, to answer, between two reads. In twice as many,
            100 bytes of the file have to come for each of them.
        progress: called for every chunk.

    Raises AddressError if nothing, something else, too much or not everything came, and OSError if the partial file
    cannot be written.
    """
    try:
        with _client(timeout) as client, _Watch(timeout) as watch:
            for ranges in (_rest_of(partial), {}):
                with _answer(client, "GET", address, ranges, watch) as response:
                    if _fits(response, partial, asked_for_rest=bool(ranges)):
                        _receive(response, partial, size_limit, progress, watch)
                        return
    except (httpx.HTTPError, *MALFORMED) as error:
        raise _explained(error, address, partial.size(), timeout) from error


def current_validators(address: str, *, timeout: float) -> dict[str, str] | None:
    """Asks the server for the file's state without fetching it; None if nothing answers. Returns those of `etag`,
    `last_modified` and `content_length` (bytes, in digits) that the server sends."""
    # Servers that mishandle HEAD are asked for one byte, of which only headers are read. A timeout ends the attempt.
    for method, ranges in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        try:
            with (
                _client(timeout) as client,
                _Watch(timeout) as watch,
                _answer(client, method, address, ranges, watch) as response,
            ):
                if response.status_code in (OK, PARTIAL_CONTENT):
                    return _validators(response) | _length(response)
        except (httpx.HTTPError, *MALFORMED, AddressError) as error:
            if isinstance(error, httpx.ConnectError | httpx.TimeoutException):
                break
    return None


def _client(timeout: float) -> httpx.Client:
    """Returns a client with httpx's proxies and certificates from the environment."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it writes every address, signatures included
    try:
        return httpx.Client(timeout=timeout)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise AddressError(
            f"cannot be asked, because the environment's proxy or certificate settings do not work ({error})"
        ) from error


class _Watch:
    """Ends a transfer that is too slow: httpx's timeout is that of each piece, and a server could send a byte a second
    for ever, of its headers too. What such a transfer raises becomes httpx.ReadTimeout at the block's end."""

    def __init__(self, timeout: float) -> None:
        self._seconds = WATCHED_TIMEOUTS * timeout
        self._came = 0  # bytes since the last look
        self._stream: Any = None  # httpcore's, of the connection that is in use
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.ended = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self.ended and isinstance(error, httpx.TransportError):
            raise httpx.ReadTimeout("too slow") from error

    def trace(self, event: str, told: Mapping[str, Any]) -> None:
        """Hears from httpcore which connection is in use."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = told["return_value"]

    def came(self, size: int) -> None:
        """Counts bytes of the file."""
        self._came += size

    def _look(self) -> None:
        while not self._over.wait(self._seconds):
            came, self._came = self._came, 0
            if came < LEAST_SPEED * self._seconds:
                self.ended = True
                with suppress(OSError, AttributeError):  # closed meanwhile
                    self._stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextmanager
def _answer(
    client: httpx.Client, method: str, address: str, headers: Mapping[str, str], watch: _Watch
) -> Iterator[httpx.Response]:
    """Yields the response after all redirects, its body unread. Redirects are followed one by one, because httpx would
    also follow those from https to http. It does drop `Authorization` and cookies for another host."""
    request = client.build_request(method, address, headers={**AS_IT_IS, **headers})
    for _ in range(REDIRECT_LIMIT + 1):
        request.extensions = {**request.extensions, "trace": watch.trace}
        response = client.send(request, stream=True)
        try:
            if response.next_request is None:
                yield response
                return
            here, there = request.url.scheme, response.next_request.url.scheme
            if there not in ("http", "https") or (here, there) == ("https", "http"):
                raise AddressError(f"redirects from {here} to {there}, which is not followed")
            request = response.next_request
        finally:
            response.close()
    raise AddressError(f"redirects more than {REDIRECT_LIMIT} times")


def _rest_of(partial: Partial) -> dict[str, str]:
    """Returns the headers that request the missing bytes if the file is unchanged (RFC 9110, 13.1.5)."""
    known = partial.validators()
    condition = known.get("etag") or known.get("last_modified")
    return {"Range": f"bytes={partial.size()}-", "If-Range": condition} if condition else {}


def _fits(response: httpx.Response, partial: Partial, *, asked_for_rest: bool) -> bool:
    """Prepares `partial` for this response's body; returns False if the whole file must be requested instead. Raises
    AddressError if the response brings no file."""
    status = response.status_code
    if asked_for_rest and status == RANGE_NOT_SATISFIABLE:
        return False
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in READABLE_ENCODINGS:
        raise AddressError(f"sends the file packed as {encoding!r}, which was not asked for")
    if asked_for_rest and status == PARTIAL_CONTENT:
        return _continues(response, partial)
    if status == OK:  # also if the file has changed, or the server has no ranges
        partial.start_over({k: v for k, v in _validators(response).items() if not v.startswith("W/")} | _md5(response))
        return True
    raise AddressError(
        f"answered {status} {response.reason_phrase}".rstrip(),
        temporary=status in TEMPORARY_REFUSALS or status >= SERVER_ERRORS,
    )


def _continues(response: httpx.Response, partial: Partial) -> bool:
    """Whether a 206 begins where `partial` ends and belongs to the same file."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    known, now = partial.validators(), _validators(response)
    return (
        found is not None
        and int(found[1]) == partial.size()
        and all(now[name] == known[name] for name in known.keys() & now.keys())
    )


def _validators(response: httpx.Response) -> dict[str, str]:
    fields = {"etag": "ETag", "last_modified": "Last-Modified"}
    return {name: response.headers[field] for name, field in fields.items() if field in response.headers}


def _md5(response: httpx.Response) -> dict[str, str]:
    """Returns the whole file's checksum that some servers send (RFC 1864), for callers that have no other."""
    told = response.headers.get("Content-MD5", "")
    return {"content_md5": told} if re.fullmatch(r"[A-Za-z0-9+/]{22}==", told) else {}


def _length(response: httpx.Response) -> dict[str, str]:
    """Returns the whole file's length, also from a response with one byte of it."""
    if response.status_code == PARTIAL_CONTENT:
        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        whole = response.headers.get("Content-Length", "")
    return {"content_length": whole} if whole.isdecimal() else {}


def _receive(response: httpx.Response, partial: Partial, size_limit: int, progress: Progress, watch: _Watch) -> None:
    """Appends the undecoded body chunk by chunk, so that an interruption loses none."""
    done = partial.size()
    announced = response.headers.get("Content-Length", "")
    total = done + int(announced) if announced.isdecimal() else None
    _refuse_too_large(max(done, total or 0), size_limit, partial)
    require_space(partial.folder, (total or done) - done, "the rest of the download")
    progress(done, total, "bytes")
    for piece in response.iter_raw():
        done += len(piece)
        watch.came(len(piece))
        _refuse_too_large(done, size_limit, partial)
        partial.append(piece)
        progress(done, total, "bytes")


def _refuse_too_large(size: int, size_limit: int, partial: Partial) -> None:
    if size > size_limit:
        partial.remove()
        raise too_large(size_limit)


def no_address(error: Exception, address: str) -> str:
    """Says why httpx takes an address for none. Its own words may quote a part of a password."""
    return "in a password, / is %2F and @ is %40" if Address(address).has_secret else str(error)


def too_large(size_limit: int) -> AddressError:
    """Returns the error for a file of more than `size_limit` bytes."""
    return AddressError(f"is larger than {size_limit / 2**20:,.1f} MiB, the most that is taken", by_hand=False)


def _explained(error: Exception, address: str, received: int, timeout: float) -> AddressError:
    """Explains httpx's error in the user's words; `received` counts all bytes so far."""
    if isinstance(error, MALFORMED):
        return AddressError(f"is not an address that can be asked ({no_address(error, address)})")
    if isinstance(error, httpx.ConnectTimeout) or (isinstance(error, httpx.TimeoutException) and not received):
        reason = f"did not answer within {timeout:g} s"
    elif isinstance(error, httpx.TimeoutException):
        reason = f"sent nothing more for {timeout:g} s after {received:,} bytes"
    elif isinstance(error, httpx.ConnectError | httpx.ProxyError):
        reason = f"cannot be reached ({error})"
    else:
        reason = f"cut the connection after {received:,} bytes"
    return AddressError(reason, temporary=True)
