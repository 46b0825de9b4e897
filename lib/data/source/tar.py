"""Reads a tar archive from front to back in bounded memory. The standard library's reader believes the sizes in headers
of extensions, keeps every entry, and ends in silence where a header is broken."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import IO

from lib.data.source.compressed import CHUNK_BYTES

BLOCK = tarfile.BLOCKSIZE
EXTENSION_BYTES = 2**20  # a long name, or the attributes of one entry
NAMES, ATTRIBUTES, GLOBAL = (tarfile.GNUTYPE_LONGNAME,), (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE), tarfile.XGLTYPE
RECORD = re.compile(rb"(\d{1,9}) ([^=]+)=")  # of attributes: its length, a keyword, and a value to its end


class TarReader:
    """The entries of a tar archive: iterate over it, and `read` each before asking for the next.

    Raises tarfile.ReadError or ValueError while it is read if the archive is damaged.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = 0  # bytes of the entry that are not read yet
        self._padding = 0  # bytes after it, to the end of its last block

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Yields each entry with its whole name and size."""
        attributes: dict[str, str] = {}
        while (entry := self._header()) is not None:
            if entry.type in (*NAMES, tarfile.GNUTYPE_LONGLINK, *ATTRIBUTES, GLOBAL):
                if entry.size > EXTENSION_BYTES:
                    raise tarfile.ReadError(f"a header of {entry.size:,} bytes")
                self._begin(entry.size)
                content = b"".join(iter(partial(self.read, CHUNK_BYTES), b""))
                if entry.type in NAMES:
                    attributes["path"] = content.partition(b"\0")[0].decode("utf-8", "surrogateescape")
                elif entry.type in ATTRIBUTES:
                    attributes |= _attributes(content)
                continue
            entry.name = attributes.get("path", entry.name)
            entry.size = int(attributes.get("size", entry.size))
            if any(keyword.startswith("GNU.sparse.") for keyword in attributes):
                entry.type = tarfile.GNUTYPE_SPARSE
            attributes = {}
            self._begin(entry.size if entry.isreg() or entry.type not in tarfile.SUPPORTED_TYPES else 0)
            yield entry
            while self.read(CHUNK_BYTES):
                pass

    def read(self, size: int) -> bytes:
        """Reads on in the current entry, at most `size` bytes and 1 MiB; nothing at its end."""
        if not self._left:
            self._exactly(self._padding)
            self._padding = 0
            return b""
        chunk = self._stream.read(min(self._left, size, CHUNK_BYTES))
        if not chunk:
            raise tarfile.ReadError("the end is missing")
        self._left -= len(chunk)
        return chunk

    def _header(self) -> tarfile.TarInfo | None:
        """Returns the next header; None at the end, which is a block of zeros."""
        block = self._exactly(BLOCK)
        if not block.strip(b"\0"):
            return None
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")

    def _begin(self, size: int) -> None:
        if size < 0:
            raise tarfile.ReadError(f"an entry of {size} bytes")
        self._left, self._padding = size, -size % BLOCK

    def _exactly(self, size: int) -> bytes:
        found = self._stream.read(size)
        while 0 < len(found) < size and (more := self._stream.read(size - len(found))):
            found += more
        if len(found) < size:
            raise tarfile.ReadError("the end is missing")
        return found


def _attributes(records: bytes) -> dict[str, str]:
    """Parses a pax header: records of "LENGTH KEYWORD=VALUE\\n", where the length is that of the whole record."""
    found: dict[str, str] = {}
    at = 0
    while at < len(records.rstrip(b"\0")):
        record = RECORD.match(records, at)
        if record is None or int(record[1]) <= record.end() - at:
            raise tarfile.ReadError("an extended header that cannot be parsed")
        end = at + int(record[1])
        found[record[2].decode("utf-8", "replace")] = records[record.end() : end - 1].decode("utf-8", "surrogateescape")
        at = end
    return found
