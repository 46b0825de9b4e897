"""Finds the one data file in an archive, a compressed file or the file itself. Archives are untrusted: escaping paths,
links, bombs and damage are refused, and sizes are counted, not believed."""

from __future__ import annotations

import difflib
import errno
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, Literal, cast

from lib.data.source.compressed import (
    CHUNK_BYTES,
    RATIO_LIMIT,
    UNPACKED_LIMIT,
    Limited,
    Unpacked,
    decompressed,
    without_ending,
)
from lib.data.source.kinds import COMPRESSIONS, HEAD_BYTES, Kind, compression_in, kind_of, refuse_no_data
from lib.data.source.splits import as_flag, files_by_split
from lib.data.source.tar import TarReader
from lib.errors import ArchiveError, listed

# Without bzip2 and LZMA: zipfile decompresses a whole read of them at once, with unbounded memory.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# What the standard library and pyarrow raise for damaged data, and for broken sizes, offsets, names and flags.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    EOFError,
    struct.error,
    ValueError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    OSError,
)

Nameable = Literal["nothing", "member", "splits"]
MOST_MEMBERS = 200_000  # of a tar archive, which can have an entry in every 512 bytes
NAME_BYTES = 200  # of a file name; file systems allow 255


@dataclass(frozen=True)
class Member:
    """A file in an archive; `opened` opens it from its beginning."""

    path: str
    opened: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class _Archive:
    """An archive or a compressed file that is being unpacked. name: what errors call it."""

    name: str
    packed_bytes: int
    size_limit: int
    ratio_limit: int

    def limited(self, stream: IO[bytes], packed_bytes: int | None = None) -> IO[bytes]:
        """Returns the stream as one that ends with an error where it exceeds a limit."""
        packed = self.packed_bytes if packed_bytes is None else packed_bytes
        unpacked = Unpacked(self.name, packed, size_limit=self.size_limit, ratio_limit=self.ratio_limit)
        return io.BufferedReader(Limited(stream, unpacked), CHUNK_BYTES)


def unpacked(
    source: IO[bytes],
    name: str,
    *,
    member: str | None = None,
    any_name: bool = False,
    nameable: Nameable = "member",
    size_limit: int = UNPACKED_LIMIT,
    ratio_limit: int = RATIO_LIMIT,
) -> tuple[str, Iterator[bytes]]:
    """Returns the name of the data file in `source`, and its bytes in chunks of at most 1 MiB.

    The kind of `source` is read from its first bytes, not its name: zip, tar, gzip, bzip2, xz, zstandard, or a tar
    archive in one of the last four. Only the wanted member of an archive is unpacked, and of a member that is
    compressed itself its contents, but all of the archive's entries are checked first. A workbook stays as it is.

    Args:
        source: seekable, at any position; must stay open while the chunks are read.
        name: the original name of `source`.
        member: the file inside an archive (None: its only one); otherwise the file's own name or None.
        any_name: whether what is no archive may have another name than `member`.
        nameable: what a recipe could name of an archive here, for errors: nothing else, a member, or
            a member for each split.
        size_limit: unpacked bytes.
        ratio_limit: unpacked bytes per byte of archive, checked above 64 MiB.

    Raises ArchiveError at once for an unsafe, ambiguous or unsupported archive, and while the chunks are read for
    damage and exceeded limits; MessagesError for a web page, a Git LFS pointer or another file that has no data.
    """
    archive = _Archive(name, source.seek(0, os.SEEK_END), size_limit, ratio_limit)
    with _damage_is_clear(name):
        content = _content(name, partial(_rewound, source), archive)
        if content.kind == "tar" or (content.kind == "zip" and not content.compressed):
            members = _tar_members(content.opened, archive) if content.kind == "tar" else _zip_members(source, archive)
            chosen = _wanted(list(members), name, member, nameable)
            content = _content(chosen.path, chosen.opened, archive)
            if content.kind in (*COMPRESSIONS.values(), "zip", "tar"):
                raise ArchiveError(
                    f"{chosen.path!r} in {name!r} is an archive itself: unpack {name!r} yourself and point data.url at"
                    f" {PurePosixPath(chosen.path).name!r}"
                )
        elif content.kind in (*COMPRESSIONS.values(), "zip"):
            raise ArchiveError(f"{name!r} is compressed twice: unpack it yourself and point data.url at what is in it")
        elif member is not None and not any_name and safe_name(member) != safe_name(content.name):
            # Otherwise it names a file that was unpacked by hand.
            refuse_no_data(content.head, name)
            raise ArchiveError(
                f"{name!r} is not an archive, so there is no {member!r} in it: check data.url, or leave data.member out"
            )
        refuse_no_data(content.head, name if content.name in name else f"{content.name} in {name}")
    return safe_name(content.name), _chunks(content.opened, name)


def safe_name(name: str) -> str:
    """Returns the last part of `name`, after any / or \\, without characters that could surprise a shell."""
    base = re.sub(r"[^\w.+ -]", "_", re.split(r"[/\\]", name)[-1])
    ending = base.encode()[-NAME_BYTES:].decode(errors="ignore")  # the end, because it says the format
    return ending.lstrip(". ") or "data"


@dataclass(frozen=True)
class _Content:
    """A file, or the contents of a compressed one. `head`: its first bytes."""

    name: str
    opened: Callable[[], IO[bytes]]
    head: bytes
    compressed: bool

    @property
    def kind(self) -> Kind:
        return kind_of(self.head)


def _content(name: str, opened: Callable[[], IO[bytes]], archive: _Archive) -> _Content:
    """Looks into a file, and into its contents if it is compressed."""
    head = opened().read(HEAD_BYTES)
    compression = compression_in(head)
    if compression is None:
        return _Content(name, opened, head, compressed=False)

    def contents() -> IO[bytes]:
        return archive.limited(decompressed(opened(), compression))

    return _Content(without_ending(name), contents, contents().read(HEAD_BYTES), compressed=True)


def _rewound(source: IO[bytes]) -> IO[bytes]:
    source.seek(0)
    return source


def _zip_members(source: IO[bytes], archive: _Archive) -> Iterator[Member]:
    """Yields the files of a zip archive; raises ArchiveError for an unsafe entry."""
    opened = zipfile.ZipFile(source)
    for entry in opened.infolist():
        path = entry.orig_filename  # as written: ZipInfo.filename is already cut at a NUL
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 if the archive was not made on Unix
        problem = None
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "is a link or a device"
        elif entry.flag_bits & 0x1:  # general purpose bit 0, APPNOTE.TXT 4.4.4
            problem = "is encrypted"
        _refuse_unsafe(path, problem, archive.name)
        if not entry.is_dir():
            yield _zip_member(opened, entry, archive)


def _zip_member(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, archive: _Archive) -> Member:
    def content() -> IO[bytes]:
        if entry.compress_type not in ZIP_METHODS:
            raise ArchiveError(
                f"{entry.filename!r} in {archive.name!r} is packed with method {entry.compress_type}, which is not read"
                " here: pack it again with the usual one, deflate"
            )
        return archive.limited(opened.open(entry), min(archive.packed_bytes, entry.compress_size))

    return Member(entry.filename, content)


def _tar_members(opened: Callable[[], IO[bytes]], archive: _Archive) -> Iterator[Member]:
    """Yields the files of a tar archive; raises ArchiveError for an unsafe entry."""
    for number, entry in enumerate(TarReader(opened())):
        problem = None
        if entry.type == tarfile.GNUTYPE_SPARSE:
            problem = "has holes (a sparse file)"
        elif not (entry.isreg() or entry.isdir()):
            problem = "is a link or a device"
        _refuse_unsafe(entry.name, problem, archive.name)
        if number == MOST_MEMBERS:
            raise ArchiveError(
                f"{archive.name!r} has more than {MOST_MEMBERS:,} entries: unpack it yourself and point data.url at the"
                " data file"
            )
        if entry.isreg():
            yield Member(entry.name.removeprefix("./"), partial(_tar_entry, opened, number, archive))


def _tar_entry(opened: Callable[[], IO[bytes]], number: int, archive: _Archive) -> IO[bytes]:
    """Opens an entry of a tar archive, reading over those before it."""
    reader = TarReader(opened())
    next(islice(reader, number, None))
    return archive.limited(cast(IO[bytes], reader))


def _refuse_unsafe(path: str, problem: str | None, name: str) -> None:
    """Refuses the whole archive for one unsafe entry."""
    if not path or "\0" in path or re.match(r"[/\\]|[A-Za-z]:", path):
        problem = "is not a relative path"
    elif ".." in re.split(r"[/\\]", path):
        problem = "leads out of the folder"
    if problem == "is encrypted":
        raise ArchiveError(
            f"The entry {path!r} of {name!r} is encrypted, and passwords are not asked for here: unpack it yourself and"
            " point data.url at the data file"
        )
    if problem is not None:
        raise ArchiveError(
            f"The entry {path!r} of {name!r} {problem}, so nothing of it is unpacked: get the file from a source"
            " you trust, or unpack it yourself and point data.url at the data file"
        )


def _wanted(members: Sequence[Member], name: str, member: str | None, nameable: Nameable) -> Member:
    """Returns the one to unpack."""
    files = [each for each in members if not _is_clutter(each.path)]
    if member is not None:
        chosen = [each for each in files if each.path == member.removeprefix("./")]
    elif len(files) > 1:
        chosen = [each for each in files if not _is_readme(each.path)]
    else:
        chosen = files
    if len(chosen) != 1:
        hint = _splits_hint([each.path for each in chosen]) if nameable == "splits" and member is None else ""
        raise ArchiveError(
            _why_none_is_chosen(name, member, [each.path for each in files], len(chosen), nameable) + hint
        )
    return chosen[0]


def _is_clutter(path: str) -> bool:
    """Whether macOS added the file."""
    parts = PurePosixPath(path).parts
    return "__MACOSX" in parts[:-1] or parts[-1] == ".DS_Store" or parts[-1].startswith("._")


def _is_readme(path: str) -> bool:
    return PurePosixPath(path).stem.casefold() in {"readme", "license", "licence"}


def _why_none_is_chosen(name: str, member: str | None, names: Sequence[str], chosen: int, nameable: Nameable) -> str:
    if not names:
        return f"{name!r} is an archive without any file in it: point data.url at another one"
    listing = listed(map(repr, names))
    if member is None:
        way_out = "unpack it and name its files" if nameable == "nothing" else "choose one with --data.member NAME"
        return f"{name!r} has several files ({listing}): {way_out}"
    if chosen:
        return f"{name!r} has {chosen} files named {member!r}: pack it again with one of them"
    nearest = difflib.get_close_matches(member, names, 1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    way_out = "name one of these" if nameable == "nothing" else "choose one with --data.member NAME"
    return f"{name!r} has no file {member!r}{hint}; it has {listing}: {way_out}"


def _splits_hint(names: Sequence[str]) -> str:
    """Says how to use the files as splits, where their names say that they are."""
    splits = {split: files[0] for split, files in files_by_split(names).items() if len(files) == 1}
    if len(splits) < 2:
        return ""
    return f", or name them as the splits that they are: --data.members {as_flag(splits)}"


def _chunks(opened: Callable[[], IO[bytes]], name: str) -> Iterator[bytes]:
    with _damage_is_clear(name):
        stream = opened()
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def _damage_is_clear(name: str) -> Iterator[None]:
    """Turns the libraries' errors about damaged data into one sentence.

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
