"""Fetches one data file from the first address that has it, and identifies a source in a cache key."""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn
from urllib.parse import quote, unquote, unquote_to_bytes

from lib.data.source.archive import is_zip, safe_name, unpacked
from lib.data.source.endings import known_ending
from lib.data.source.transfer import (
    AddressError,
    claimed,
    current_validators,
    fetch,
    forget,
    too_large,
    without_credentials,
)
from lib.errors import ArchiveError, ChecksumError, SourceError
from lib.files.checksum import file_sha256
from lib.files.disk import disk_full_is_clear
from lib.progress import Progress, silent

SIZE_LIMIT = 2 * 2**30  # bytes of what is fetched: a wrong address should not fill the disk
TIMEOUT_SECONDS = 30.0  # without any byte from the server
IDENTITY_SECONDS = 5.0  # the same while only a key is made: every plan and every run waits for that

LOGGER = logging.getLogger(__name__)

# What can be wrong with one address; a full disk is not its fault, and no other address would help.
Failure = AddressError | ChecksumError | ArchiveError


@dataclass(frozen=True)
class Download:
    """The one data file that a source led to."""

    file: Path  # unpacked, under its own name
    address: str  # where it came from, without user name and password
    sha256: str  # of `file`
    size: int  # bytes of `file`


def download(
    addresses: Sequence[str],
    folder: Path,
    *,
    scratch: Path,
    member: str | None = None,
    sha256: str | None = None,
    size_limit: int = SIZE_LIMIT,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress = silent,
    warn: Callable[[str], None] = LOGGER.warning,
) -> Download:
    """Puts the data file of the first address that has it into `folder`; tries each address once.

    What arrives over HTTP is kept in `scratch` until it is complete, so that the next call, in any process, resumes it.

    Args:
        addresses: `https://`, `http://` or `file://` URLs, or paths (`~` is expanded), in the order to try.
        folder: gets exactly one file, synced, or nothing.
        member: the file inside a zip archive; None: its only one.
        sha256: of the data file after unpacking, in lower-case hex digits; None: not checked.
        size_limit: bytes of the file as it is fetched, before unpacking.
        timeout: seconds without any byte from a server.
        warn: gets one sentence for each address that fails before another is tried.

    Raises:
        SourceError: no address has the file; `temporary` says whether trying again later may help.
        ChecksumError: the data file does not have `sha256`.
        ArchiveError: what came cannot be unpacked safely.
        StoreError: the disk is full.
    """
    failures: list[tuple[str, Failure]] = []
    for address in dict.fromkeys(addresses):
        if failures:
            warn(f"{_sentence(*failures[-1])}; trying {without_credentials(address)}")
        try:
            with _opened(address, scratch, size_limit, timeout, progress) as source:
                # A file unpacked by hand may have any name if its checksum is known, because that decides.
                wanted = None if sha256 and not is_zip(source) else member
                result = _placed(source, address, folder, wanted, sha256)
        except (AddressError, ChecksumError, ArchiveError) as error:
            failures.append((address, error))
        else:
            # Also of those that were cut off before this one answered: nobody will go on with them.
            for tried in filter(_is_remote, addresses):
                forget(tried, scratch)
            return result
    _give_up(failures, sha256)


def identity(
    addresses: Sequence[str],
    *,
    member: str | None,
    sha256: str | None,
    ending_counts: bool,
    timeout: float = IDENTITY_SECONDS,
) -> dict[str, str]:
    """Identifies this source in a cache key.

    With a checksum nothing else matters: a mirror, a disk or another machine has the same source. A local file is its
    bytes, without its folder, so that a project can be moved. A remote file without a checksum is its addresses and
    what the server says of its state now (ETag, Last-Modified, length); without an answer the addresses alone.

    Where `ending_counts`, because `data_ending` is to decide the format, the key has the ending too, or the names in
    the
    recipe where they have none: what an archive's only file is called shows only when it is there.

    Addresses are tried in the order of `download`, and the first that is there counts.
    """

    def naming(addresses: Sequence[str]) -> dict[str, str]:
        return _naming(addresses, member) if ending_counts else {}

    if sha256 is not None:
        return {"sha256": sha256} | naming(addresses)
    chosen = {} if member is None else {"member": member}
    remote = {"addresses": " ".join(map(without_credentials, filter(_is_remote, addresses)))}
    for address in addresses:
        if _is_remote(address):
            state = current_validators(address, timeout=timeout)
            if state is not None:
                return remote | state | chosen | naming(addresses)
        elif (state := _local_state(address)) is not None:
            return state | chosen | naming([address])
    return remote | chosen | naming(addresses)


def data_ending(addresses: Sequence[str], *, member: str | None, sha256: str | None, unpacked_name: str) -> str:
    """The ending that says the format of a data file that arrived as `unpacked_name`; "" if nothing says it.

    With a checksum the file is the same wherever it comes from, so the ending is the one that `identity` sees in the
    recipe: the same recipe then finds the same format whichever address answers, and whatever a store already has.
    """
    return (sha256 is not None and _told_ending(addresses, member)) or known_ending(unpacked_name)


def _told_ending(addresses: Sequence[str], member: str | None) -> str:
    """The data file's ending as far as the names in the recipe tell it; a `.zip` tells nothing of what is in it."""
    names = [*([] if member is None else [member]), *map(_name, addresses)]
    return next(filter(None, map(known_ending, names)), "")


def _naming(addresses: Sequence[str], member: str | None) -> dict[str, str]:
    ending = _told_ending(addresses, member)
    return {"ending": ending} if ending else {"names": " ".join(map(_name, addresses))}


def _local_state(address: str) -> dict[str, str] | None:
    path = _local_path(address)
    try:
        if path is None or not path.is_file():
            return None
        return {"file_sha256": file_sha256(path)}
    except OSError:  # not to be read: for `download` the same as if it were not there
        return None


def _is_remote(address: str) -> bool:
    return address.lower().startswith(("http://", "https://"))


def _local_path(address: str) -> Path | None:
    """The path that a `file://` URL (RFC 8089) or a plain path means; None for anything else. After `file://` only
    percent-encoding is undone: "+", "?" and "#" stand for themselves, as people write them."""
    if not address.lower().startswith("file:"):
        if re.match(r"[a-z][a-z0-9+.-]*://", address, re.IGNORECASE):
            return None
        # os.path's leaves the "~" of an unknown user as it is; pathlib's raises.
        return Path(os.path.expanduser(address))  # noqa: PTH111
    path = re.sub(r"^//(localhost)?(?=/)", "", address[len("file:") :], flags=re.IGNORECASE)
    if path.startswith("//") or not path.startswith("/"):
        return None
    return Path(os.fsdecode(unquote_to_bytes(path)))


def _name(address: str) -> str:
    """The file's own name as the address has it, whatever a server redirects to."""
    if not _is_remote(address):
        path = _local_path(address)
        return "" if path is None else path.name
    path_of_url = re.sub(r"^[^:]*://[^/?#]*|[?#].*$", "", address)
    return unquote(path_of_url.rpartition("/")[2])


@contextmanager
def _opened(address: str, scratch: Path, size_limit: int, timeout: float, progress: Progress) -> Iterator[IO[bytes]]:
    """The file at `address`, complete and open for reading."""
    if not _is_remote(address):
        with _opened_local(address, size_limit) as file:
            progress(size := file.seek(0, os.SEEK_END), size, "bytes")
            yield file
        return
    with disk_full_is_clear(scratch), claimed(address, scratch) as partial:
        fetch(address, partial, size_limit=size_limit, timeout=timeout, progress=progress)
        try:
            yield partial.file
        except (ChecksumError, ArchiveError):
            partial.remove()  # it may be a resumed mixture: the next call must not go on from it
            raise


def _opened_local(address: str, size_limit: int) -> IO[bytes]:
    path = _local_path(address)
    if path is None:
        raise AddressError(
            "is no address that is read here (https://, http://, file:///path, or a path)", by_hand=False
        )
    try:
        if not path.is_file():
            raise AddressError("is not a file" if path.exists() else "does not exist", by_hand=False)
        if path.stat().st_size > size_limit:
            raise too_large(size_limit)
        return path.open("rb")
    except OSError as error:
        raise AddressError(f"cannot be read ({error.strerror})", by_hand=False) from error


def _placed(source: IO[bytes], address: str, folder: Path, member: str | None, sha256: str | None) -> Download:
    """Unpack `source` into `folder`; where that fails, nothing stays there."""
    name, chunks = unpacked(source, safe_name(_name(address)), member=member)
    unfinished = folder / f".{name}.unfinished"
    try:
        with disk_full_is_clear(folder):
            folder.mkdir(parents=True, exist_ok=True)
            found, size = _written(chunks, unfinished)
        if sha256 is not None and found != sha256:
            raise ChecksumError(
                f"The data file {name!r} from {without_credentials(address)} has sha256 {found}, but"
                f" data.sha256 says {sha256}: it was changed or damaged, so get the right one, or set"
                " data.sha256 to this one's if you trust it"
            )
        return Download(unfinished.rename(folder / name), without_credentials(address), found, size)
    finally:
        unfinished.unlink(missing_ok=True)


def _written(chunks: Iterator[bytes], path: Path) -> tuple[str, int]:
    """sha256 and size in bytes of what now lies, synced, at `path`."""
    hasher, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            hasher.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return hasher.hexdigest(), size


def _sentence(address: str, failure: Failure) -> str:
    return f"{without_credentials(address)} {failure}" if isinstance(failure, AddressError) else str(failure)


def _give_up(failures: Sequence[tuple[str, Failure]], sha256: str | None) -> NoReturn:
    """Raise what all failures together come to.

    Wrong bytes count more than missing ones, because no retry puts them right, unless another address may
    still answer later.
    """
    causes = [failure for _, failure in failures]
    temporary = any(isinstance(cause, AddressError) and cause.temporary for cause in causes)
    wrong = next((cause for cause in causes if not isinstance(cause, AddressError)), None)
    if wrong is not None and not temporary:
        raise wrong
    tried = ", and ".join(_sentence(address, cause) for address, cause in failures) or "there is no address"
    message = f"The source file cannot be had: {tried}; check data.url{_by_hand(failures, sha256)}"
    raise SourceError(message, temporary=temporary) from next(reversed(causes), None)


def _by_hand(failures: Sequence[tuple[str, Failure]], sha256: str | None) -> str:
    """The way out without a network, where that is one: a file to carry over."""
    for address, cause in failures:
        if _is_remote(address) and isinstance(cause, AddressError) and cause.by_hand:
            name = safe_name(_name(address))
            pinned = f" (sha256 of the data file: {sha256})" if sha256 else ""
            path = quote(f"/path/to/{name}", safe="/+")
            return f", or fetch {name}{pinned} by hand and say --data.url file://{path}"
    return ""
