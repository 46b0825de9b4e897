"""Fetches files from object stores, `s3://`, `gs://` and `az://`, with the credentials that the environment has.

Each store's own client, below fsspec, finds those, and is imported only for its addresses. What clients say of an error
is never repeated, because it may hold a signed address or a key.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lib.data.source.partial import Partial
from lib.data.source.transfer import AddressError, too_large
from lib.errors import chain_of
from lib.extras import require
from lib.files.disk import require_space
from lib.progress import Progress

BLOCK_BYTES = 4 * 2**20  # requested at once, and lost at most when a transfer breaks off
BLOCK_TIMEOUTS = 4  # as many times the timeout may pass until a block is complete
STATE = {"etag": ("ETag", "etag"), "version": ("VersionId", "generation"), "content_length": ("size",)}
REFUSED = {"NoCredentialsError", "PartialCredentialsError", "ClientAuthenticationError", "CredentialUnavailableError"}
MISSING = {"NoSuchBucket", "ResourceNotFoundError", "NotFound"}
REFUSALS = (401, 403)


@dataclass(frozen=True)
class Store:
    """A kind of object store. package: its file system for fsspec, which the extra brings. credentials: where the
    environment has them, for errors. opened: makes the file system, given the timeout in seconds."""

    package: str
    extra: str
    credentials: str
    opened: Callable[[float], Any]


# Nothing of an earlier listing is kept, and of an earlier file system nothing that `_opened` does not know.
FRESH = {"skip_instance_cache": True, "use_listings_cache": False}


def _s3(timeout: float) -> Any:
    import botocore.session
    from s3fs import S3FileSystem

    found = botocore.session.get_session().get_credentials()
    timeouts = {"connect_timeout": timeout, "read_timeout": timeout, "retries": {"max_attempts": 0}}
    store = S3FileSystem(anon=found is None, config_kwargs=timeouts, **FRESH)
    store.retries = 1  # this project's steps have retries of their own
    return store


def _gs(timeout: float) -> Any:  # noqa: ARG001 - each call has its own
    from gcsfs.core import GCSFileSystem  # gcsfs's other class asks for a bucket's kind over gRPC first

    emulated = os.environ.get("STORAGE_EMULATOR_HOST", "default") not in ("", "default")
    return GCSFileSystem(token="anon" if emulated else None, **FRESH)


def _az(timeout: float) -> Any:
    from adlfs import AzureBlobFileSystem

    seconds = max(1, round(timeout))
    return AzureBlobFileSystem(connection_timeout=seconds, read_timeout=seconds, **FRESH)


STORES = {
    "s3": Store("s3fs", "s3", "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", _s3),
    "gs": Store("gcsfs", "gcs", "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`", _gs),
    "az": Store("adlfs", "azure", "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or `az login`", _az),
}


def is_object(address: str) -> bool:
    """Whether the address is one of an object store."""
    return address.partition("://")[0].lower() in STORES and "://" in address


def fetch_object(
    address: str, partial: Partial, *, size_limit: int, timeout: float, progress: Progress
) -> dict[str, str]:
    """Completes `partial` from `address`, with only the rest of the file where that has not changed. Returns the
    object's state, which it had before and after.

    Args:
        address: of one object; its scheme is in STORES.
        partial: from `lib.data.source.transfer.claimed`; keeps its bytes when the transfer breaks off.
        size_limit: bytes of the file.
        timeout: seconds for an answer; a block of 4 MiB may take four times as long.
        progress: called for every block.

    Raises AddressError if there is no such object, if it is too large, or if the store does not answer or refuses;
    ExtraError if the store's package is not installed; and OSError if the partial file cannot be written.
    """
    with _clear_errors(address):
        store = _file_system(address, timeout)
        before = _state(store, address, timeout)
    size = int(before["content_length"])
    if size > size_limit:
        raise too_large(size_limit)
    if partial.validators() != before or partial.size() > size:
        partial.start_over(before)
    done = partial.size()
    require_space(partial.folder, size - done, "the rest of the download")
    progress(done, size, "bytes")
    while done < size:
        with _clear_errors(address, done):
            end = min(done + BLOCK_BYTES, size)
            block = store.cat_file(address, start=done, end=end, timeout=BLOCK_TIMEOUTS * timeout)
        if not block:
            raise AddressError(f"sent nothing more after {done:,} bytes", temporary=True)
        partial.append(block)
        done += len(block)
        progress(done, size, "bytes")
    with _clear_errors(address, done):
        changed = _state(store, address, timeout) != before
    if changed:
        partial.remove()
        raise AddressError("changed while it was fetched", temporary=True)
    return before


def object_state(address: str, *, timeout: float) -> dict[str, str] | None:
    """Asks for the object's state without fetching it; None if nothing answers. Returns those of `etag`, `version` and
    `content_length` (bytes, in digits) that the store has."""
    try:
        return state_of(address, timeout=timeout)
    except AddressError:
        return None


def state_of(address: str, *, timeout: float) -> dict[str, str]:
    """Does as `object_state`, and raises AddressError as `fetch_object` does."""
    with _clear_errors(address):
        return _state(_file_system(address, timeout), address, timeout)


def find_objects(address: str, *, timeout: float) -> list[str]:
    """Returns the addresses of the objects that a folder (it ends with a slash, or is no object) or a pattern stands
    for, sorted; the address itself if it is one object. Raises AddressError as `fetch_object` does."""
    return list(find_states(address, timeout=timeout))


def find_states(address: str, *, timeout: float) -> dict[str, dict[str, str]]:
    """Does as `find_objects`; returns for each address what `object_state` does, as far as a listing has it."""
    scheme, _, path = address.partition("://")
    pattern = any(character in path for character in "*?[")
    with _clear_errors(address):
        store = _file_system(address, timeout)
        if not pattern and not address.endswith("/"):
            facts = store.info(address, timeout=timeout)
            if facts["type"] == "file":
                return {address: _stated(facts)}
        root = path.rstrip("/")
        if pattern:
            root = "/".join(part for part in _before_pattern(path))
        found: Mapping[str, Any] = store.find(f"{scheme}://{root}", detail=True, timeout=timeout)
    names = sorted(name for name, facts in found.items() if facts.get("type") == "file")
    fitting = [name for name in names if not pattern or _fits(name, path)]
    return {f"{scheme}://{name}": _stated(found[name]) for name in fitting}


def _before_pattern(path: str) -> Iterator[str]:
    """Yields the folders of a pattern before the first one that has a character that stands for others."""
    for part in path.split("/"):
        if any(character in part for character in "*?["):
            return
        yield part


def _fits(name: str, pattern: str) -> bool:
    """Whether an object's name fits a pattern, in which `**` stands for any folders, and `*` for a part of one name."""
    names, patterns = name.split("/"), pattern.split("/")
    if "**" not in patterns:
        return len(names) == len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))
    at = patterns.index("**")
    head, tail = patterns[:at], patterns[at + 1 :]
    if len(names) < len(head) + len(tail) or not all(map(fnmatch.fnmatchcase, names, head)):
        return False
    return any(_fits("/".join(names[start:]), "/".join(tail)) for start in range(at, len(names) - len(tail) + 1))


def _file_system(address: str, timeout: float) -> Any:
    """Returns the store's file system for fsspec."""
    scheme = address.partition("://")[0].lower()
    store = STORES[scheme]
    require(store.package, store.extra, f"an address such as {scheme}://…")
    return _opened(scheme, timeout, os.getpid(), tuple(sorted(os.environ.items())))


@lru_cache(maxsize=4)
def _opened(scheme: str, timeout: float, process: int, environment: tuple[tuple[str, str], ...]) -> Any:  # noqa: ARG001
    """Returns the same file system again, whose client takes a while to make, where it would be made the same."""
    return STORES[scheme].opened(timeout)


def _state(store: Any, address: str, timeout: float) -> dict[str, str]:
    facts = store.info(address, timeout=timeout)
    if facts["type"] != "file":
        raise AddressError("is a folder and not a file", by_hand=False)
    return _stated(facts)


def _stated(facts: Mapping[str, Any]) -> dict[str, str]:
    found = {
        name: next((facts[key] for key in keys if facts.get(key) is not None), None) for name, keys in STATE.items()
    }
    return {name: str(value) for name, value in found.items() if value is not None}


@contextmanager
def _clear_errors(address: str, done: int = 0) -> Iterator[None]:
    """Turns what the stores' clients raise into the rest of a sentence. `done`: bytes so far."""
    from fsspec.exceptions import FSTimeoutError

    try:
        yield
    except FileNotFoundError as error:
        raise AddressError("does not exist", by_hand=False) from error
    except (AddressError, MemoryError):
        raise
    except FSTimeoutError as error:
        problem = f"sent nothing more in time after {done:,} bytes" if done else "did not answer in time"
        raise AddressError(problem, temporary=True) from error
    except Exception as error:
        if type(error).__module__.startswith("lib."):
            raise  # a package that is not installed
        raise _explained(address, error, done) from None  # the cause may have a key in its words


def _explained(address: str, error: Exception, done: int) -> AddressError:
    chain = [*chain_of(error)]
    names = {type(each).__name__ for each in chain}
    codes = {getattr(each, "code", None) for each in chain} | {getattr(each, "status_code", None) for each in chain}
    if names & MISSING or codes & {404, "404"}:
        return AddressError("does not exist", by_hand=False)
    if isinstance(error, PermissionError) or names & REFUSED or codes & {*REFUSALS, *map(str, REFUSALS)}:
        store = STORES[address.partition("://")[0].lower()]
        return AddressError(
            f"may not be read with the credentials of the environment: set {store.credentials}", by_hand=False
        )
    so_far = f" after {done:,} bytes" if done else ""
    return AddressError(f"cannot be reached{so_far} ({type(error).__name__})", temporary=True)
