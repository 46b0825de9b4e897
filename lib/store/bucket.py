"""Objects of a bucket below a prefix, with conditional writes; every error is one sentence, and quotes no answer.

Servers say of an object its ETag, which depends on its bytes alone: who compares and swaps puts a nonce into them.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from lib.errors import StoreError
from lib.extras import require
from lib.files.disk import disk_full_is_clear
from lib.store.client import CREDENTIALS, endpoint, opened

BLOCK = 2**24  # bytes read at once
STATUS = re.compile(r"non-2xx status code: (\d{3})")


@dataclass(frozen=True)
class Object:
    """An object as a listing has it. name: below the prefix. size: bytes. changed: by the server's clock, UTC."""

    name: str
    size: int
    changed: datetime


class Bucket:
    """The objects of `s3://bucket/prefix`. Raises ExtraError without the extra `s3`, and StoreError if the address is
    none, or if there are no credentials.

    what: what lies there, and named_by: what says so, for errors.
    """

    def __init__(self, address: str, *, what: str = "an artifact store", named_by: str = "FINETUNE_STORE") -> None:
        shown = address.rpartition("@")[2]  # before it may be keys
        require("obstore", "s3", f"{what} such as {shown}")
        parts = urlsplit(address)
        if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
            raise StoreError(f"{shown} is no address of {what}: write s3://bucket/prefix, and nothing else")
        self.address = address.rstrip("/")
        self._what, self._named_by = what, named_by
        self._name = parts.netloc
        self._store = opened(parts.netloc, parts.path.strip("/"))
        self._at = f" at {server}" if (server := endpoint()) else ""
        self._where = f"{self.address}{self._at}"
        self._guard = Lock()
        self._keeps_conditions = False

    # -- reading --

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Returns a small object and its ETag; None if there is none."""
        with self._clear():
            try:
                answer = self._store.get(name)
                return bytes(answer.bytes()), str(answer.meta["e_tag"])
            except FileNotFoundError as error:
                _require_bucket(error)
                return None

    def list(self, folder: str = "") -> list[Object]:
        """Returns the objects in a folder and below it, by name."""
        with self._clear():
            found = [each for page in self._store.list(folder or None) for each in page]
        return sorted((Object(each["path"], each["size"], each["last_modified"]) for each in found), key=_name_of)

    def download(self, name: str, size: int, file: Path) -> str | None:
        """Writes an object of so many bytes into a new file; returns its SHA-256, or None if there is no object, or one
        that is shorter. Raises StoreError if the disk is full."""
        sha256 = hashlib.sha256()
        with disk_full_is_clear(file.parent), file.open("wb") as target:
            for start in range(0, size, BLOCK):
                block = self.read(name, start, min(BLOCK, size - start))
                if block is None:
                    return None
                sha256.update(block)
                target.write(block)
        return sha256.hexdigest()

    def checksum(self, name: str, size: int) -> str | None:
        """Reads an object of so many bytes; returns its SHA-256, or None as `download` does."""
        sha256 = hashlib.sha256()
        for start in range(0, size, BLOCK):
            block = self.read(name, start, min(BLOCK, size - start))
            if block is None:
                return None
            sha256.update(block)
        return sha256.hexdigest()

    def read(self, name: str, start: int, length: int) -> memoryview | None:
        """Reads so many bytes of an object, at least one; None if it is not there, or ends before."""
        with self._clear():
            try:
                block = memoryview(self._store.get_range(name, start=start, length=length))
            except FileNotFoundError as error:
                _require_bucket(error)
                return None
            except Exception as error:
                if _status(error) == 416:  # nothing begins there
                    return None
                raise
        return block if block.nbytes == length else None

    def now(self) -> datetime:
        """Returns the time by the server's clock, to the second."""
        name = f".clock/{uuid.uuid4().hex}"
        with self._clear():
            self._store.put(name, b"", use_multipart=False)
            try:
                return self._store.head(name)["last_modified"]
            finally:
                self._store.delete(name)

    # -- writing --

    def upload(self, name: str, file: Path) -> None:
        """Writes an object from a file."""
        with self._clear():
            self._store.put(name, file)

    def put(self, name: str, content: bytes) -> None:
        """Writes a small object."""
        with self._clear():
            self._store.put(name, content, use_multipart=False)

    def create(self, name: str, content: bytes) -> str | None:
        """Writes a small object unless it exists; returns its ETag, or None if it did. Once in a process, the server is
        asked first whether it keeps conditions; raises StoreError if it does not."""
        self.require_conditions()
        return self._create(name, content)

    def swap(self, name: str, content: bytes, etag: str) -> str | None:
        """Writes a small object if it still has this ETag; returns the new one, or None if it had not. Otherwise as
        `create`."""
        self.require_conditions()
        return self._swap(name, content, etag)

    def delete(self, names: Sequence[str]) -> None:
        """Removes objects; it is no error if they are not there."""
        with self._clear(), suppress(FileNotFoundError):
            if names:
                self._store.delete(list(names))

    def require_conditions(self) -> None:
        """Raises StoreError if the server writes where a condition forbids it, for it would lose artifacts quietly."""
        with self._guard:
            if self._keeps_conditions:
                return
            name = f".probe/{uuid.uuid4().hex}"
            try:
                etag = self._create(name, b"1")
                keeps = etag is not None and self._create(name, b"2") is None
                if etag is not None and keeps:
                    keeps = self._swap(name, b"3", etag) is not None and self._swap(name, b"4", etag) is None
            finally:
                with suppress(StoreError):  # of a server that is away, which says so already
                    self.delete([name])
            if not keeps:
                raise StoreError(
                    f"the server of {self._where} ignores conditional writes (If-None-Match and If-Match), so that two"
                    " machines would overwrite each other's files: use one that keeps them, such as Amazon S3 or a"
                    " recent SeaweedFS, or a folder"
                )
            self._keeps_conditions = True

    def _create(self, name: str, content: bytes) -> str | None:
        from obstore.exceptions import AlreadyExistsError

        with self._clear():
            try:
                return self._store.put(name, content, mode="create", use_multipart=False)["e_tag"]
            except AlreadyExistsError:
                return None

    def _swap(self, name: str, content: bytes, etag: str) -> str | None:
        from obstore.exceptions import PreconditionError

        with self._clear():
            try:
                return self._store.put(name, content, mode={"e_tag": etag}, use_multipart=False)["e_tag"]
            except (PreconditionError, FileNotFoundError):
                return None

    # -- errors --

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """Turns what the client raises into one sentence. What it quotes may name more than a log should have."""
        from obstore.exceptions import BaseError, NotSupportedError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except _NoBucketError:
            raise self._no_bucket() from None
        except (BaseError, FileNotFoundError) as error:
            status = _status(error)
            refused = isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in (401, 403)
            if "NoSuchBucket" in str(error):
                raise self._no_bucket() from None
            if refused:
                raise StoreError(
                    f"{self._where} may not be used with the credentials of the environment: set"
                    f" {CREDENTIALS}, of somebody who may list, read, write and delete there"
                ) from None
            if isinstance(error, NotSupportedError) or status == 501:
                raise StoreError(
                    f"the server of {self._where} does not know a request that {self._what} needs: use another one, or"
                    " a folder"
                ) from None
            if status is not None and status < 500:
                raise StoreError(
                    f"the server of {self._where} refuses a request with status {status}: see that {self._named_by},"
                    " AWS_ENDPOINT_URL and AWS_REGION belong together"
                ) from None
            what = "does not answer" if status is None else f"keeps failing (status {status})"
            raise StoreError(
                f"the server of {self._where} {what}: see that it can be reached from here and that AWS_ENDPOINT_URL"
                " names it (unset: Amazon S3), and run again, which goes on from there"
            ) from None

    def _no_bucket(self) -> StoreError:
        return StoreError(
            f"there is no bucket {self._name}{self._at}: make it, or let {self._named_by} name another one"
        )


class _NoBucketError(Exception):
    """There is no object because there is no bucket."""


def _require_bucket(error: FileNotFoundError) -> None:
    if "NoSuchBucket" in str(error):
        raise _NoBucketError


def _name_of(found: Object) -> str:
    return found.name


def _status(error: BaseException) -> int | None:
    match = STATUS.search(str(error))
    return int(match[1]) if match else None
