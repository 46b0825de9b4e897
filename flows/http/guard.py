"""Says who may ask: requests for this server's own names, with a key where keys are asked for.

A page of another site can make a browser ask any address of this machine, under a name of its own that resolves here;
the `Host` header gives it away.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

from lib.errors import RecipeError

HERE = ("localhost", "127.0.0.1", "::1")  # what this machine is called by itself
EVERYWHERE = ("0.0.0.0", "::", "")
ANY = "*"
KEY_LINE = re.compile(r"(?P<name>\S+) sha256:(?P<digest>[0-9a-f]{64})")
KEY_BYTES = 32  # so random that a plain hash of a key cannot be turned back
MOST_REMEMBERED = 1024  # hosts that were asked for
OPEN = frozenset({"/ping", "/health", "/version", "/", "/try.css", "/try.js", "/docs", "/openapi.json"})
HOST, AUTHORIZATION, BEARER = b"host", b"authorization", b"bearer "


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: a status, a sentence, and headers."""

    status: HTTPStatus
    sentence: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Guard:
    """Lets requests pass, or says why not.

    hosts: names and addresses that requests may be for; None: of any. keys: by what each is called, the SHA-256 of API
    keys, of which a request must have one; none: no key is asked for.
    """

    def __init__(self, hosts: Iterable[str] | None = None, keys: Mapping[str, str] | None = None) -> None:
        self._hosts = None if hosts is None or ANY in (hosts := set(hosts)) else {name.lower() for name in hosts}
        self._any_address = self._hosts is not None and bool(self._hosts & set(EVERYWHERE))
        self._keys = {} if keys is None else {name: bytes.fromhex(digest) for name, digest in keys.items()}
        self._is_ours = lru_cache(MOST_REMEMBERED)(self._is_our_host)

    def refusal(self, path: str, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Returns why a request for this path is refused; None: it is not."""
        host = headers.get(HOST, b"")
        if not self._is_ours(host):
            shown = host.decode("latin-1")
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server does not answer for the host {shown!r}: start it with --allow-host and that name",
            )
        if self._keys and path not in OPEN and self.key_of(headers.get(AUTHORIZATION, b"")) is None:
            return Refusal(
                HTTPStatus.UNAUTHORIZED,
                "this server asks for a key: send the header Authorization: Bearer KEY",
                {"WWW-Authenticate": "Bearer"},
            )
        return None

    def key_of(self, authorization: bytes) -> str | None:
        """Returns what the key in this header is called; None if there is no such key. How long it takes says nothing
        about how much of a key is right."""
        if authorization[: len(BEARER)].lower() != BEARER:
            return None
        digest = hashlib.sha256(authorization[len(BEARER) :].strip()).digest()
        found = [name for name, kept in self._keys.items() if hmac.compare_digest(digest, kept)]
        return found[0] if found else None

    def _is_our_host(self, written: bytes) -> bool:
        if self._hosts is None:
            return True
        host = host_in(written.decode("latin-1"))
        return host is not None and (host in self._hosts or (self._any_address and _is_address(host)))


def own_hosts(listening: str, more: Iterable[str] = ()) -> set[str]:
    """Returns what requests may be for where a server listens at this address: that, the names of this machine, and
    `more`; where it listens everywhere, any address, which no other site can make its own."""
    return {*HERE, listening, socket.gethostname(), *more}


def host_in(written: str) -> str | None:
    """Returns the name or address in a `Host` header, without its port, in small letters; None where it is none."""
    found = re.fullmatch(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]\s/@]+))(:\d{1,5})?", written)
    return None if found is None else (found["six"] or found["name"]).lower().rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def read_keys(file: Path) -> dict[str, str]:
    """Returns the hashes of the keys in a file, by what each is called. Raises RecipeError where it cannot be read, has
    another line, or none."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RecipeError(f"--api-keys {file} cannot be read ({error}): make it with --new-key NAME") from None
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        found = KEY_LINE.fullmatch(line)
        if found is None and line and not line.startswith("#"):
            raise RecipeError(f"{file}, line {number} is no key, NAME sha256:DIGEST: make it with --new-key NAME")
        if found is not None:
            keys[found["name"]] = found["digest"]
    if not keys:
        raise RecipeError(f"{file} has no key: make one with --new-key NAME, or leave --api-keys out")
    return keys


def add_key(file: Path, name: str) -> str:
    """Makes a key, and adds its hash to a file that only its owner may read. Returns the key, which is kept nowhere.
    Raises RecipeError where the name is none or is taken, or the file cannot be written."""
    if re.fullmatch(r"[\w.-]+", name) is None:
        raise RecipeError(f"{json.dumps(name)} cannot name a key: use letters, digits, _, . and -")
    if file.exists() and file.stat().st_size and name in read_keys(file):
        raise RecipeError(f"{file} has a key {name!r} already: remove its line, or choose another name")
    key = secrets.token_urlsafe(KEY_BYTES)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as lines:
            lines.write(f"{name} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n")
    except OSError as error:
        raise RecipeError(f"--api-keys {file} cannot be written ({error.strerror}): name another file") from None
    return key
