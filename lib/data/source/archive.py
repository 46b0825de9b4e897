"""Finds the one data file in a zip archive, a gzip file or the file itself. Archives are untrusted: escaping paths,
links, bombs and damage are refused, and sizes are counted, not believed."""

import difflib
import errno
import gzip
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from lib.errors import ArchiveError

CHUNK_BYTES = 2**20

UNPACKED_LIMIT = 4 * 2**30  # bytes; some 50 million SMS messages, more than fine-tuning here can use
RATIO_LIMIT = 200  # bytes out per byte in; SMS messages reach 2.3, logs some 20, zeros 1,029
RATIO_FREE_BYTES = 64 * 2**20  # below this the ratio is ignored: small repetitive files are harmless

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the first entry; the directory of an empty archive
GZIP_MAGIC = b"\x1f\x8b"
UNREADABLE_MAGIC = {  # other common formats: naming them is clearer than "not UTF-8" later
    b"\xfd7zXZ\x00": "an xz file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a zstandard file",
}
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257

# Without bzip2 and LZMA: zipfile decompresses a whole read of them at once, with unbounded memory.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# zipfile's and zlib's own errors, and those that broken sizes, offsets, names and flags cause.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    ValueError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    OSError,
)

LISTED_NAMES = 10  # files of an archive in an error
NAME_BYTES = 200  # of a file name; file systems allow 255


def unpacked(
    source: IO[bytes],
    name: str,
    *,
    member: str | None = None,
    size_limit: int = UNPACKED_LIMIT,
    ratio_limit: int = RATIO_LIMIT,
) -> tuple[str, Iterator[bytes]]:
    """Returns the name of the data file in `source`, and its bytes in chunks of at most 1 MiB.

    The type of `source` is read from its first bytes, not its name. Only the wanted member of an archive is unpacked,
    but all of its entries are checked first.

    Args:
        source: seekable, at any position; must stay open while the chunks are read.
        name: the original name of `source`.
        member: the file inside a zip archive (None: its only one); otherwise the file's own name or None.
        size_limit: unpacked bytes.
        ratio_limit: unpacked bytes per byte of archive, checked above 64 MiB.

    Raises ArchiveError at once for an unsafe, ambiguous or unsupported archive, and while the chunks are read for
    damage and exceeded limits.
    """
    packed_bytes = source.seek(0, os.SEEK_END)
    if is_zip(source):
        with _damage_is_clear(name):
            archive = zipfile.ZipFile(source)
        entry = _wanted(archive, name, member)
        packed_bytes = min(packed_bytes, entry.compress_size)
        found, chunks = safe_name(entry.filename), _chunks(lambda: archive.open(entry), name)
    else:
        found, chunks = _single_file(source, name)
        if member is not None and safe_name(member) != found:  # it may name a file that was unpacked by hand
            raise ArchiveError(
                f"{name!r} is not a zip archive, so there is no {member!r} in it: check data.url, or leave data.member"
                " out"
            )
    return found, _limited(_readable(chunks, name), name, packed_bytes, size_limit, ratio_limit)


def safe_name(name: str) -> str:
    """Returns the last part of `name`, after any / or \\, without characters that could surprise a shell."""
    base = re.sub(r"[^\w.+ -]", "_", re.split(r"[/\\]", name)[-1])
    ending = base.encode()[-NAME_BYTES:].decode(errors="ignore")  # the end, because it says the format
    return ending.lstrip(". ") or "data"


def is_zip(source: IO[bytes]) -> bool:
    """Whether the first bytes are a zip archive's; rewinds `source`."""
    return _head(source, 4).startswith(ZIP_MAGIC)


def _head(source: IO[bytes], size: int) -> bytes:
    source.seek(0)
    head = source.read(size)
    source.seek(0)
    return head


def _single_file(source: IO[bytes], name: str) -> tuple[str, Iterator[bytes]]:
    """Returns a gzip file's contents under its name without the ending, or the file itself."""
    if _head(source, 2) == GZIP_MAGIC:
        return safe_name(re.sub(r"\.gz(ip)?$", "", name, flags=re.IGNORECASE)), _chunks(
            lambda: gzip.GzipFile(fileobj=source, mode="rb"), name
        )
    return safe_name(name), iter(lambda: source.read(CHUNK_BYTES), b"")


def _wanted(archive: zipfile.ZipFile, name: str, member: str | None) -> zipfile.ZipInfo:
    """Returns the entry to unpack after checking that every entry is harmless."""
    for entry in archive.infolist():
        _refuse_unsafe(entry, name)
    files = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_clutter(entry.filename)]
    if member is not None:
        chosen = [entry for entry in files if entry.filename == member]
    elif len(files) > 1:
        chosen = [entry for entry in files if not _is_readme(entry.filename)]
    else:
        chosen = files
    if len(chosen) != 1:
        raise ArchiveError(_why_none_is_chosen(name, member, files, chosen))
    if chosen[0].compress_type not in ZIP_METHODS:
        raise ArchiveError(
            f"{chosen[0].filename!r} in {name!r} is packed with method {chosen[0].compress_type}, which is"
            " not read here: pack it again with the usual one, deflate"
        )
    return chosen[0]


def _refuse_unsafe(entry: zipfile.ZipInfo, name: str) -> None:
    """Refuses the whole archive for one unsafe entry."""
    path = entry.orig_filename  # as written: ZipInfo.filename is already cut at a NUL
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 if the archive was not made on Unix
    if not path or "\0" in path or re.match(r"[/\\]|[A-Za-z]:", path):
        problem = "is not a relative path"
    elif ".." in re.split(r"[/\\]", path):
        problem = "leads out of the folder"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link or a device"
    elif entry.flag_bits & 0x1:  # general purpose bit 0, APPNOTE.TXT 4.4.4
        problem = "is encrypted"
    else:
        return
    raise ArchiveError(
        f"The entry {path!r} of {name!r} {problem}, so nothing of it is unpacked: get the file from a source"
        " you trust, or unpack it yourself and point data.url at the data file"
    )


def _is_clutter(path: str) -> bool:
    """Whether macOS added the entry."""
    return path.startswith("__MACOSX/") or PurePosixPath(path).name == ".DS_Store"


def _is_readme(path: str) -> bool:
    return PurePosixPath(path).stem.casefold() in {"readme", "license", "licence"}


def _why_none_is_chosen(
    name: str, member: str | None, files: list[zipfile.ZipInfo], chosen: list[zipfile.ZipInfo]
) -> str:
    names = [entry.filename for entry in files]
    listing = ", ".join(map(repr, names[:LISTED_NAMES]))
    if len(names) > LISTED_NAMES:
        listing += f" and {len(names) - LISTED_NAMES} more"
    if not names:
        return f"{name!r} is an archive without any file in it: point data.url at another one"
    if member is None:
        return f"{name!r} has several files ({listing}): choose one with --data.member NAME"
    if chosen:
        return f"{name!r} has {len(chosen)} files named {member!r}: pack it again with one of them"
    nearest = difflib.get_close_matches(member, names, 1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return f"{name!r} has no file {member!r}{hint}; it has {listing}: choose one with --data.member NAME"


def _chunks(opened: Callable[[], IO[bytes] | gzip.GzipFile], name: str) -> Iterator[bytes]:
    with _damage_is_clear(name), opened() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _readable(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Passes the chunks on, and refuses the first one of an unsupported format."""
    first = next(chunks, b"")
    is_tar = first[TAR_MAGIC_AT:].startswith(TAR_MAGIC)
    kind = "a tar archive" if is_tar else next((k for m, k in UNREADABLE_MAGIC.items() if first.startswith(m)), None)
    if kind is not None:
        raise ArchiveError(
            f"{name!r} is {kind}, which is not read here: unpack it yourself, or pack the data file as zip or gzip"
        )
    yield first
    yield from chunks


def _limited(
    chunks: Iterator[bytes], name: str, packed_bytes: int, size_limit: int, ratio_limit: int
) -> Iterator[bytes]:
    """Passes the chunks on until they exceed a limit."""
    done = 0
    for chunk in chunks:
        done += len(chunk)
        if done > size_limit:
            raise ArchiveError(
                f"{name!r} unpacks to more than {size_limit / 2**20:,.1f} MiB, the most that is taken: make"
                " the data file smaller"
            )
        if done > max(RATIO_FREE_BYTES, ratio_limit * packed_bytes):
            raise ArchiveError(
                f"{name!r} unpacks to more than {ratio_limit} times its own size, as a zip bomb does: if you"
                " trust it, unpack it yourself and point data.url at the data file"
            )
        yield chunk


@contextmanager
def _damage_is_clear(name: str) -> Iterator[None]:
    """Turns the standard library's errors about damaged data into one sentence.

    `gzip`'s own error is an `OSError` without a number, and a broken offset makes the system refuse to seek (EINVAL);
    an `OSError` with any other number is the disk's, and passes unchanged.
    """
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(
            f"{name!r} is damaged ({error}): fetch it again, from another address if that does not help"
        ) from error
