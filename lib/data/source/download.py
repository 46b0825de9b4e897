"""Fetches one data file from the first address that has it, and identifies a source in a cache key."""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn
from urllib.parse import quote, unquote, unquote_to_bytes

from lib.data.source.archive import Nameable, safe_name, unpacked
from lib.data.source.endings import known_ending
from lib.data.source.hub_data import fetch_file, file_state, is_hub_file
from lib.data.source.objects import fetch_object, is_object, object_state
from lib.data.source.partial import claimed, forget
from lib.data.source.transfer import AddressError, current_validators, fetch, too_large
from lib.errors import ArchiveError, ChecksumError, MessagesError, RecipeError, SourceError
from lib.files.checksum import file_sha256
from lib.files.disk import disk_full_is_clear
from lib.progress import Progress, silent
from lib.secrets import REFERENCE, Address, has_reference, hidden_choice, revealed

SIZE_LIMIT = 2 * 2**30  # fetched bytes: a wrong address should not fill the disk
TIMEOUT_SECONDS = 30.0  # without any byte from the server
ONE_FILE = "data.url"  # the field whose addresses all have the same file
IDENTITY_SECONDS = 5.0  # the same for a cache key, which every plan and run waits for

LOGGER = logging.getLogger(__name__)

# Failures of one address; a full disk is none, because no other address would help.
Failure = AddressError | ChecksumError | ArchiveError | MessagesError | SourceError


@dataclass(frozen=True)
class Download:
    """The one data file of a source."""

    file: Path  # unpacked, under its own name
    address: str  # its address, without secrets
    sha256: str  # of `file`
    size: int  # bytes of `file`


def download(
    addresses: Sequence[str],
    folder: Path,
    *,
    scratch: Path,
    member: str | None = None,
    sha256: str | None = None,
    field: str = ONE_FILE,
    nameable: Nameable = "member",
    size_limit: int = SIZE_LIMIT,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress = silent,
    warn: Callable[[str], None] = LOGGER.warning,
) -> Download:
    """Puts the data file of the first address that has it into `folder`, trying each address once.

    A transfer is kept in `scratch` until it is complete, so that the next call, of any process, resumes it.

    Args:
        addresses: `https://`, `http://` or `file://` URLs, `s3://`, `gs://`, `az://` or `hf://` addresses, or paths
            (`~` is expanded), in the order to try. Secrets in them, and what `${NAME}` stands for, are for the
            server alone.
        folder: gets exactly one file, synced, or nothing.
        scratch: holds partial transfers; empty of them after success.
        member: the file inside an archive; None: its only one.
        sha256: of the data file after unpacking, in lower-case hex digits; None: not checked.
        field: of the recipe, which holds the addresses, for errors.
        nameable: what the recipe could name of an archive here, as in `lib.data.source.archive.unpacked`, for errors.
        size_limit: bytes of the fetched file, before unpacking.
        timeout: seconds without any byte from a server.
        progress: counts the bytes of the transfer.
        warn: gets one sentence for each failed address before another is tried.

    Raises SourceError if no address has the file (`temporary` if a retry may help), ChecksumError if the data file does
    not have `sha256`, ArchiveError if it cannot be unpacked safely, MessagesError if it is a web page or the like,
    StoreError if the disk is full, and RecipeError for a `${NAME}` that stands for nothing.
    """
    failures: list[tuple[str, Failure]] = []
    places = [*{_whole(address): Address(address) for address in addresses}.values()]
    for address in places:
        if failures:
            warn(f"{_sentence(*failures[-1])}; trying {address}")
        try:
            with _opened(address, scratch, size_limit, timeout, progress) as source:
                result = _placed(source, address, folder, member, sha256, nameable=nameable)
        except (AddressError, ChecksumError, ArchiveError, MessagesError, SourceError) as error:
            failures.append((address, error))
        else:
            for tried in places:  # including partial files of addresses that failed
                forget(tried, scratch)
            return result
    _give_up(failures, sha256, field)


def identity(
    addresses: Sequence[str],
    *,
    member: str | None,
    sha256: str | None,
    ending_counts: bool,
    timeout: float = IDENTITY_SECONDS,
) -> dict[str, str]:
    """Returns the cache key ingredients of a source.

    - A checksum identifies the contents, so the same file from a mirror, a disk or another machine is the same source.
    - A local file is identified by its bytes. Its folder is left out, so that a project can be moved or copied without
    computing anything again. - A remote file without a checksum is identified by its addresses and the server's state
    of it (ETag, Last-Modified, version, length), so that a changed file is fetched again. Without an answer only the
    addresses remain. - What is hidden of an address, and may choose the file, is there as a digest: `key=a.csv`, for
    example, or what `${NAME}` stands for. A signature is not, unless the server says nothing by which to know the file.

    With `ending_counts`, because `data_ending` decides the format, the key also contains the ending in the recipe's
    names, or else these names, because the name of an archive's only file is not known yet.

    Addresses are tried in the order of `download`, and the first that has the file counts; `download` reports failures.
    No secret can be got from the key, and none is needed for it where there is a checksum.
    """
    addresses = [Address(address) for address in addresses]

    def naming(addresses: Sequence[str]) -> dict[str, str]:
        if not ending_counts:
            return {}
        ending = _told_ending(addresses, member)
        return {"ending": ending} if ending else {"names": " ".join(map(_written_name, addresses))}

    if sha256 is not None:
        return {"sha256": sha256} | naming(addresses)
    chosen = {} if member is None else {"member": member}
    remote = {"addresses": " ".join(each for each in addresses if _is_remote(each) or has_reference(_whole(each)))}
    for address in addresses:
        if _is_remote(address):
            state = _remote_state(address, timeout)
            if state is not None:
                return remote | _hidden_choices(addresses, state) | state | chosen | naming(addresses)
        elif (state := _local_state(address)) is not None:
            return state | chosen | naming([address])
    return remote | _hidden_choices(addresses, {}) | chosen | naming(addresses)


def _hidden_choices(addresses: Sequence[str], state: Mapping[str, str]) -> dict[str, str]:
    """Returns what tells addresses apart that are shown alike, given what the server says of the file."""
    signature = not state.keys() & {"etag", "last_modified", "version", "commit"}
    found = [hidden_choice(address, signature=signature) for address in addresses]
    return {"hidden": " ".join(each or "-" for each in found)} if any(found) else {}


def is_local_file(address: str) -> bool:
    """Whether the address is that of a file on this machine."""
    return _local_state(address) is not None


def require_each_once(files: Sequence[tuple[str, str]]) -> None:
    """Raises SourceError if two of the files, each with the field that names it, are the same."""
    seen: dict[str, str] = {}
    for address, field in files:
        path = _local_path(address)
        place = _whole(address) if path is None else os.path.realpath(path)
        if place in seen:
            fields = " and ".join(dict.fromkeys((seen[place], field)))
            raise SourceError(f"{Address(address)} is named twice, in {fields}: leave it out once")
        seen[place] = field


def data_ending(addresses: Sequence[str], *, member: str | None, sha256: str | None, unpacked_name: str) -> str:
    """Returns the ending that gives the format of a data file that arrived as `unpacked_name`; "" if nothing does.

    With a checksum the ending is taken from the recipe, as in `identity`: the same recipe then finds the same format
    whichever address answers, and whatever a store already has.
    """
    return (sha256 is not None and _told_ending(addresses, member)) or known_ending(unpacked_name)


def _told_ending(addresses: Sequence[str], member: str | None) -> str:
    """Returns the data file's ending according to the recipe; `.zip` says nothing about the contents."""
    names = [*([] if member is None else [member]), *map(_written_name, addresses)]
    return next(filter(None, map(known_ending, names)), "")


def _local_state(address: str) -> dict[str, str] | None:
    path = _local_path(address)
    try:
        if path is None or not path.is_file():
            return None
        return {"file_sha256": file_sha256(path)}
    except OSError:  # for `download`, an unreadable file is a missing one
        return None


def _whole(address: str) -> str:
    """Returns the whole address; as it was written where what it refers to is missing, which `download` reports."""
    try:
        return revealed(address)
    except RecipeError:
        return address


def _remote_state(address: str, timeout: float) -> dict[str, str] | None:
    address = _whole(address)
    if is_object(address):
        return object_state(address, timeout=timeout)
    if is_hub_file(address):
        return file_state(address)
    return current_validators(address, timeout=timeout)


def _is_remote(address: str) -> bool:
    address = _whole(address)
    return is_object(address) or is_hub_file(address) or address.lower().startswith(("http://", "https://"))


def _local_path(address: str) -> Path | None:
    """Returns the path of a `file://` URL (RFC 8089) or a plain path; None for anything else. After `file://` only
    percent-encoding is decoded: "+", "?" and "#" stand for themselves, as people write them."""
    address = _whole(address)
    if not address.lower().startswith("file:"):
        if re.match(r"[a-z][a-z0-9+.-]*://", address, re.IGNORECASE):
            return None
        # pathlib raises for the "~" of an unknown user; os.path does not.
        return Path(os.path.expanduser(address))  # noqa: PTH111
    path = re.sub(r"^//(localhost)?(?=/)", "", address[len("file:") :], flags=re.IGNORECASE)
    if path.startswith("//") or not path.startswith("/"):
        return None
    return Path(os.fsdecode(unquote_to_bytes(path)))


def _name(address: str) -> str:
    """Returns the file name in the address, regardless of redirects: for `${NAME}` that, with the ending, if it tells a
    format, of what it stands for, whose other parts are not for everybody."""
    written = _written_name(address)
    if not has_reference(written):
        return written
    return REFERENCE.sub(r"\1", written) + known_ending(_written_name(_whole(address)))


def _written_name(address: str) -> str:
    address = f"{Address(address)}"  # with its references, and without its secrets
    if has_reference(address) and not re.match(r"[a-z][a-z0-9+.-]*:", address, re.IGNORECASE):
        return address.rpartition("/")[2]
    if not _is_remote(address):
        path = _local_path(address)
        return "" if path is None else path.name
    if is_object(address) or is_hub_file(address):  # in which nothing is encoded, and "?" and "#" are ordinary
        return address.rpartition("/")[2]
    path_of_url = re.sub(r"^[^:]*://[^/?#]*|[?#].*$", "", address)
    return unquote(path_of_url.rpartition("/")[2])


@contextmanager
def _opened(address: str, scratch: Path, size_limit: int, timeout: float, progress: Progress) -> Iterator[IO[bytes]]:
    """Opens the complete file at `address` for reading."""
    whole = revealed(address)
    if not _is_remote(whole):
        with _opened_local(whole, size_limit) as file:
            progress(size := file.seek(0, os.SEEK_END), size, "bytes")
            yield file
        return
    if is_hub_file(whole):
        with fetch_file(whole, size_limit=size_limit, progress=progress).open("rb") as file:
            yield file
        return
    with disk_full_is_clear(scratch), claimed(address, scratch) as partial:
        if is_object(whole):
            fetch_object(whole, partial, size_limit=size_limit, timeout=timeout, progress=progress)
        else:
            fetch(whole, partial, size_limit=size_limit, timeout=timeout, progress=progress)
        try:
            yield partial.file
        except (ChecksumError, ArchiveError, MessagesError):
            partial.remove()  # a resumed file may be a mixture: the next call must not resume it
            raise


def _opened_local(address: str, size_limit: int) -> IO[bytes]:
    path = _local_path(address)
    if path is None:
        raise AddressError(
            "is no address that is read here (https://, http://, s3://, gs://, az://, hf://, file:///path, or a path)",
            by_hand=False,
        )
    try:
        if not path.is_file():
            raise AddressError("is not a file" if path.exists() else "does not exist", by_hand=False)
        if path.stat().st_size > size_limit:
            raise too_large(size_limit)
        return path.open("rb")
    except OSError as error:
        raise AddressError(f"cannot be read ({error.strerror})", by_hand=False) from error


def _placed(
    source: IO[bytes], address: str, folder: Path, member: str | None, sha256: str | None, *, nameable: Nameable
) -> Download:
    """Unpacks `source` into `folder`; a failure leaves nothing there."""
    # With a known checksum, a file that was unpacked by hand may have any name.
    name, chunks = unpacked(
        source, safe_name(_name(address)), member=member, any_name=sha256 is not None, nameable=nameable
    )
    unfinished = folder / f".{name}.unfinished"
    try:
        with disk_full_is_clear(folder):
            folder.mkdir(parents=True, exist_ok=True)
            found, size = _written(chunks, unfinished)
        if sha256 is not None and found != sha256:
            raise ChecksumError(
                f"The data file {name!r} from {address} has sha256 {found}, but"
                f" data.sha256 says {sha256}: it was changed or damaged, so get the right one, or set"
                " data.sha256 to this one's if you trust it"
            )
        return Download(unfinished.rename(folder / name), f"{address}", found, size)
    finally:
        unfinished.unlink(missing_ok=True)


def _written(chunks: Iterator[bytes], path: Path) -> tuple[str, int]:
    """Writes and syncs `path`; returns its sha256 and size in bytes."""
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
    return f"{address} {failure}" if isinstance(failure, AddressError) else str(failure)


def _give_up(failures: Sequence[tuple[str, Failure]], sha256: str | None, field: str) -> NoReturn:
    """Raises one error for all failures. Wrong bytes outrank missing ones, because no retry helps, unless another
    address may answer later."""
    causes = [failure for _, failure in failures]
    temporary = any(isinstance(cause, AddressError | SourceError) and cause.temporary for cause in causes)
    wrong = next((cause for cause in causes if not isinstance(cause, AddressError | SourceError)), None)
    if wrong is not None and not temporary:
        raise wrong
    if len(causes) == 1 and isinstance(causes[0], SourceError):  # a hub's, which says all
        raise causes[0]
    tried = ", and ".join(_sentence(address, cause) for address, cause in failures) or "there is no address"
    message = f"The source file cannot be fetched: {tried}; check {field}{_by_hand(failures, sha256, field)}"
    raise SourceError(message, temporary=temporary) from next(reversed(causes), None)


def _by_hand(failures: Sequence[tuple[str, Failure]], sha256: str | None, field: str) -> str:
    """Suggests fetching a file by hand, where that may work."""
    for address, cause in failures:
        if _is_remote(address) and isinstance(cause, AddressError) and cause.by_hand:
            name = safe_name(_name(address))
            pinned = f" (sha256 of the data file: {sha256})" if sha256 else ""
            path = quote(f"/path/to/{name}", safe="/+")
            # Another field may hold more files than this one.
            say = f"say --{field}" if field == ONE_FILE else f"name in {field}, instead of its address,"
            return f", or fetch {name}{pinned} by hand and {say} file://{path}"
    return ""
