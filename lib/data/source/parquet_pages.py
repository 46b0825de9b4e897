"""Counts what a Parquet file's pages say that they unpack to, and unpacks none: the footer may say something else.

https://parquet.apache.org/docs/file-format/, parquet.thrift; headers are written in thrift's compact protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

VALUE_BYTES = 4  # that a value takes at least once it is read, also where a thousand of them are one run in the file
FIRST_READ, LONGEST_HEADER = 2**12, 2**24  # bytes of a page's header; it may repeat the least and the greatest value
DEEPEST = 8  # structures in one another; a header has three
LENGTH_BYTES = 4  # before each text of a dictionary

# Fields of a page's header, and of the header of its kind inside: a data page, a dictionary, a data page of version 2.
UNPACKED, PACKED, DATA, DICTIONARY, DATA_V2 = 2, 3, 5, 7, 8
VALUES, ENCODING = 1, {DATA: 2, DATA_V2: 4}
BY_DICTIONARY, BY_PREFIX = (2, 8), 7  # PLAIN_DICTIONARY and RLE_DICTIONARY; DELTA_BYTE_ARRAY
CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "ZSTD": "zstd", "BROTLI": "brotli"}


@dataclass
class Pages:
    """What the pages of a column's part of a row group say.

    unpacked: bytes, with those of their values. repeated: how many values may stand for the same text, or for its
    beginning; longest: the bytes of the longest such text, at most.
    """

    unpacked: int = 0
    repeated: int = 0
    longest: int = 0


def read_pages(source: IO[bytes], chunk: pq.ColumnChunkMetaData, *, most: int) -> Pages:
    """Reads the headers of a column's part of a row group, and of its dictionary how long its texts are. Stops where
    they unpack to more than `most` bytes. Raises ValueError where the pages are not what the format says."""
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < at:
        at = chunk.dictionary_page_offset
    pages, seen, entry = Pages(), 0, 0
    while seen < chunk.num_values and pages.unpacked <= most:
        header, size = _header(source, at)
        unpacked, packed = _whole(header, UNPACKED), _whole(header, PACKED)
        pages.unpacked += unpacked
        if DICTIONARY in header and pages.unpacked <= most and chunk.physical_type == "BYTE_ARRAY":
            source.seek(at + size)
            entry = _longest(source.read(packed), chunk.compression, unpacked)
        for kind in ENCODING.keys() & header.keys():
            values, encoding = _whole(header[kind], VALUES), _whole(header[kind], ENCODING[kind])
            pages.unpacked += VALUE_BYTES * values
            seen += values
            text = entry if encoding in BY_DICTIONARY else unpacked if encoding == BY_PREFIX else 0
            pages.repeated += values if text else 0
            pages.longest = max(pages.longest, text)
        at += size + packed
    return pages


def _longest(packed: bytes, compression: str, unpacked: int) -> int:
    """Returns the bytes of the longest text of a dictionary, or of all of it where it is packed in another way."""
    if compression in CODECS:
        block = memoryview(pa.Codec(CODECS[compression]).decompress(packed, unpacked))
    elif compression == "UNCOMPRESSED":
        block = memoryview(packed)
    else:
        return unpacked
    at = longest = 0
    while at + LENGTH_BYTES <= len(block):
        size = int.from_bytes(block[at : at + LENGTH_BYTES], "little")
        longest = max(longest, size)
        at += LENGTH_BYTES + size
    return min(longest, unpacked)


def _header(source: IO[bytes], at: int) -> tuple[dict[int, Any], int]:
    """Returns the header of the page at this byte, and the header's size."""
    size = FIRST_READ
    while True:
        source.seek(at)
        block = source.read(size)
        thrift = _Thrift(block)
        try:
            return thrift.structure(), thrift.at
        except IndexError:  # the header is longer, or cut off
            if len(block) < size or size >= LONGEST_HEADER:
                raise ValueError("the header of a page is cut off") from None
            size *= 16


def _whole(fields: Any, number: int) -> int:
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, int) or value < 0:
        raise ValueError("the header of a page does not say how large it is")
    return value


class _Thrift:
    """Reads structures in thrift's compact protocol; raises IndexError where the bytes end, and ValueError for what is
    none. https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md"""

    def __init__(self, block: bytes) -> None:
        self._block, self._depth = block, 0
        self.at = 0

    def structure(self) -> dict[int, Any]:
        """Returns the fields of a structure by their number; what is neither a number nor a structure as None."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("the header of a page has too many structures in one another")
        fields: dict[int, Any] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._number()
            fields[number] = self._value(byte & 15)
        self._depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):  # a boolean, which is its kind
            return None
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._number()
        if kind == 12:
            return self.structure()
        if kind == 7:
            return self._skip(8)
        if kind == 8:
            return self._skip(self._varint())
        if kind in (9, 10):
            head = self._byte()
            size = head >> 4 if head >> 4 < 15 else self._varint()
            for _ in range(size):
                self._byte() if head & 15 in (1, 2) else self._value(head & 15)
            return None
        raise ValueError("the header of a page is none")

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self._block):
            raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self._block[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("the header of a page has a number without end")
        return value | byte << shift

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)  # zigzag
