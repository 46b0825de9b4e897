"""Counts what a Parquet file's pages say that they unpack to, and unpacks none: the footer may say something else.

https://parquet.apache.org/docs/file-format/, parquet.thrift
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa

from lib.data.source.parquet_footer import Chunk
from lib.data.source.thrift import Thrift, Wanted

VALUE_BYTES = 4  # that a value takes at least once it is read, also where a thousand of them are one run in the file
FIRST_READ, LONGEST_HEADER = 2**12, 2**24  # bytes of a page's header; it may repeat the least and the greatest value
LENGTH_BYTES = 4  # before each text of a dictionary

# Fields of a page's header, and of the header of its kind inside: a data page, a dictionary, a data page of version 2.
UNPACKED, PACKED, DATA, DICTIONARY, DATA_V2 = 2, 3, 5, 7, 8
VALUES, ENCODING = 1, {DATA: 2, DATA_V2: 4}
BY_DICTIONARY, BY_PREFIX = (2, 8), 7  # PLAIN_DICTIONARY and RLE_DICTIONARY; DELTA_BYTE_ARRAY
KIND: Wanted = {VALUES: {}, 2: {}, 4: {}}
WANTED: Wanted = {UNPACKED: {}, PACKED: {}, DATA: KIND, DICTIONARY: KIND, DATA_V2: KIND}
# Of a column's part, by their numbers in the footer.
BYTE_ARRAY = 6
UNCOMPRESSED, CODECS = 0, {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd"}


@dataclass
class Pages:
    """What the pages of a column's part of a row group say.

    unpacked: bytes, with those of their values. repeated: how many values may stand for the same text, or for its
    beginning; longest: the bytes of the longest such text, at most.
    """

    unpacked: int = 0
    repeated: int = 0
    longest: int = 0


def read_pages(source: IO[bytes], chunk: Chunk, *, most: int) -> Pages:
    """Reads the headers of a column's part of a row group, and of its dictionary how long its texts are. Stops where
    they unpack to more than `most` bytes. Raises ValueError where the pages are not what the format says."""
    end, at = source.seek(0, os.SEEK_END), chunk.at
    pages, seen, entry = Pages(), 0, 0
    while seen < chunk.values and pages.unpacked <= most:
        if at > end:
            raise ValueError("a page lies behind the end of the file")
        header, size = _header(source, at)
        unpacked, packed = _whole(header, UNPACKED), _whole(header, PACKED)
        if at + size + packed > end:
            raise ValueError("a page is longer than the file")
        pages.unpacked += unpacked
        if DICTIONARY in header and pages.unpacked <= most and chunk.type == BYTE_ARRAY:
            source.seek(at + size)
            entry = _longest(source.read(packed), chunk.codec, unpacked)
        for kind in ENCODING.keys() & header.keys():
            values, encoding = _whole(header[kind], VALUES), _whole(header[kind], ENCODING[kind])
            pages.unpacked += VALUE_BYTES * values
            seen += values
            text = entry if encoding in BY_DICTIONARY else unpacked if encoding == BY_PREFIX else 0
            pages.repeated += values if text else 0
            pages.longest = max(pages.longest, text)
        at += size + packed
    return pages


def _longest(packed: bytes, codec: int, unpacked: int) -> int:
    """Returns the bytes of the longest text of a dictionary, or of all of it where it is packed in another way."""
    if codec in CODECS:
        block = memoryview(pa.Codec(CODECS[codec]).decompress(packed, unpacked))
    elif codec == UNCOMPRESSED:
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
        thrift = Thrift(block)
        try:
            return thrift.structure(WANTED), thrift.at
        except IndexError:  # the header is longer, or cut off
            if len(block) < size or size >= LONGEST_HEADER:
                raise ValueError("the header of a page is cut off") from None
            size *= 16


def _whole(fields: Any, number: int) -> int:
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, int) or value < 0:
        raise ValueError("the header of a page does not say how large it is")
    return value
