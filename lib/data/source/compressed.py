"""Reads gzip, bzip2, xz and zstandard in bounded memory, and counts what comes out of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from lib.data.source.endings import COMPRESSED
from lib.data.source.kinds import COMPRESSIONS, HEAD_BYTES, Compression, head_of, kind_of
from lib.errors import ArchiveError

CHUNK_BYTES = 2**20
XZ_MEMORY = 128 * 2**20  # bytes; `xz -9` needs 65 MiB, and a header can ask for gigabytes

UNPACKED_LIMIT = 4 * 2**30  # bytes; some 50 million SMS messages, more than fine-tuning here can use
RATIO_LIMIT = 200  # bytes out per byte in; SMS messages reach 2.3, logs some 20, zeros 1,029
RATIO_FREE_BYTES = 64 * 2**20  # below this the ratio is ignored: small repetitive files are harmless


def without_ending(name: str) -> str:
    """Returns the name of a compressed file's contents."""
    return COMPRESSED.sub("", name)


def compression_of(file: Path) -> Compression | None:
    """Tells by the first bytes how a file is compressed; None: not at all."""
    with file.open("rb") as source:
        kind = kind_of(head_of(source))
    return kind if kind in COMPRESSIONS.values() else None  # type: ignore[return-value]


@contextmanager
def opened(file: Path) -> Iterator[io.BufferedReader]:
    """Opens a file for reading, or what it holds if it is compressed. Raises as `decompressed`, and ArchiveError for
    what unpacks as a bomb does."""
    compression = compression_of(file)
    with file.open("rb") as source:
        if compression is None:
            yield source
        else:
            unpacked = Unpacked(file.name, file.stat().st_size, way_out="unpack it yourself and name what is in it")
            yield io.BufferedReader(Limited(decompressed(source, compression), unpacked), HEAD_BYTES)


def decompressed(source: IO[bytes], compression: Compression) -> IO[bytes]:
    """Opens the contents of a compressed file, of all its members, as one stream that cannot go back.

    Reading it raises EOFError, OSError, zlib.error, lzma.LZMAError or ValueError where the file is damaged or cut off.
    """
    if compression == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=source, mode="rb"))
    if compression == "bzip2":
        return bz2.BZ2File(source)
    if compression == "xz":
        return io.BufferedReader(_Xz(source), CHUNK_BYTES)
    import pyarrow as pa

    # A frame that needs more than 128 MiB is refused by the library itself.
    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(_Unclosed(source), "r"), "zstd"))


class _Unclosed(io.RawIOBase):
    """A stream that stays open when this is closed, as pyarrow does with what it has read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._source.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Xz(io.RawIOBase):
    """An xz file's contents. `lzma.LZMAFile` would take as much memory as the file asks for, and ignore damage behind
    the first stream."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decoder.eof:
                rest = (self._decoder.unused_data + self._source.read(CHUNK_BYTES)).lstrip(b"\0")  # padding
                if not rest:
                    return 0
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            else:
                rest = self._source.read(CHUNK_BYTES) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not rest:
                    raise EOFError("the end is missing")
            unpacked = self._decoder.decompress(rest, len(buffer))
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)


class Unpacked:
    """Counts the bytes that come out of a file, until they exceed a limit: then `count` raises ArchiveError.

    Args:
        name: the file's, for errors.
        packed_bytes: what they come out of.
        size_limit: bytes; None: any number of them.
        ratio_limit: bytes per packed byte, above 64 MiB.
        way_out: what to do with a file that is trusted.
    """

    def __init__(
        self,
        name: str,
        packed_bytes: int,
        *,
        size_limit: int | None = None,
        ratio_limit: int = RATIO_LIMIT,
        way_out: str = "unpack it yourself and point data.url at the data file",
    ) -> None:
        self._name, self._size_limit, self._ratio_limit, self._way_out = name, size_limit, ratio_limit, way_out
        self.most = max(RATIO_FREE_BYTES, ratio_limit * packed_bytes)
        self._done = 0

    def count(self, more: int) -> None:
        """Counts some bytes more."""
        self._done += more
        if self._size_limit is not None and self._done > self._size_limit:
            raise ArchiveError(
                f"{self._name!r} unpacks to more than {self._size_limit / 2**20:,.1f} MiB, the most that is taken: make"
                " the data file smaller"
            )
        if self._done > self.most:
            raise ArchiveError(
                f"{self._name!r} unpacks to more than {self._ratio_limit} times its own size, as a zip bomb does: if"
                f" you trust it, {self._way_out}"
            )


class Limited(io.RawIOBase):
    """Bytes that come out of an archive, until they exceed a limit: then reading raises ArchiveError."""

    def __init__(self, stream: IO[bytes], unpacked: Unpacked) -> None:
        self._stream, self._unpacked = stream, unpacked

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._stream.read(len(buffer))
        self._unpacked.count(len(chunk))
        buffer[: len(chunk)] = chunk
        return len(chunk)
