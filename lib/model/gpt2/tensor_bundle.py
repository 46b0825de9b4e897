"""Reads TensorFlow's checkpoints ("tensor bundles", format V2): names, shapes, and one tensor at a time.

A bundle has an index, `<prefix>.index`, and data files, `<prefix>.data-00000-of-00001`. The index is a sorted table in
LevelDB's format, from names to protocol buffers that locate each tensor. All checksums (CRC-32C) are verified, those of
tensors when they are read.

Sources: tensorflow/core/util/tensor_bundle/tensor_bundle.h and core/protobuf/tensor_bundle.proto (bundles),
google/leveldb doc/table_format.md (tables), protobuf.dev/programming-guides/encoding (messages).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from lib.errors import WeightsError

MAGIC = 0xDB4775248B80FB57  # the last eight bytes of a table
FOOTER = 48  # bytes: two block handles, padding, the magic number
TRAILER = 5  # bytes after each block: its compression, its checksum
MASK_DELTA = 0xA282EAD8  # stored checksums are rotated and shifted, so that data may contain checksums itself
READ_BYTES = 2**20

# tensorflow/core/framework/types.proto; other types, and bfloat16, which numpy lacks, stay numbers.
TYPES: dict[int, str] = {1: "float32", 2: "float64", 19: "float16"}

Message = dict[int, list[int | bytes]]  # a protocol buffer: field number -> values in order


@dataclass(frozen=True)
class Entry:
    """The type, shape and place of one tensor."""

    type: str  # numpy's name, or "TensorFlow type <number>" for one that is not supported
    shape: tuple[int, ...]
    shard: int
    offset: int  # bytes from the shard's beginning
    size: int  # bytes
    checksum: int  # masked CRC-32C of these bytes


class TensorBundle:
    """An open checkpoint; `entries` by name, in the table's order (by bytes)."""

    def __init__(self, prefix: Path) -> None:
        """Reads `<prefix>.index`; raises `WeightsError` if it is missing, damaged or not supported."""
        self.prefix = prefix
        self.index = prefix.with_name(f"{prefix.name}.index")
        try:
            table = dict(_table(self.index.read_bytes()))
            header = _message(table.pop(b""))
            self.shards = _number(header, 1)
            if _number(header, 2):
                raise ValueError("it was written on a big-endian machine")
            self.entries = {name.decode(): _entry(_message(value)) for name, value in table.items()}
        except FileNotFoundError as error:
            raise WeightsError(f"{self.index} does not exist: a TensorFlow checkpoint must have it") from error
        except (ValueError, IndexError, KeyError, TypeError) as error:  # not a table
            raise WeightsError(
                f"{self.index} is damaged or no index of a TensorFlow checkpoint ({error}): get it again"
            ) from error

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Reads a tensor in its stored type and shape; raises `WeightsError` if its bytes are damaged. The checksum is
        computed while the array fills, so that no second copy is made."""
        entry = self.entries[name]
        file = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self.shards:05d}")
        expected = math.prod(entry.shape) * np.dtype(entry.type).itemsize
        if entry.size != expected:
            raise WeightsError(f"{self.index} says that {name} has {entry.size} bytes, not {expected}: get it again")
        tensor = np.empty(entry.shape, dtype=entry.type)
        checksum = 0
        raw = tensor.reshape(-1).view(np.uint8)
        try:
            with file.open("rb") as stream:
                stream.seek(entry.offset)
                for start in range(0, entry.size, READ_BYTES):
                    piece = stream.read(min(READ_BYTES, entry.size - start))
                    raw[start : start + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
                    checksum = google_crc32c.extend(checksum, piece)
        except FileNotFoundError as error:
            raise WeightsError(f"{file} does not exist: a TensorFlow checkpoint must have it") from error
        if _masked(checksum) != entry.checksum:
            raise WeightsError(f"{file} is damaged: the bytes of {name} do not have their checksum; get it again")
        return tensor


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = data[-FOOTER:]
    if int.from_bytes(footer[-8:], "little") != MAGIC:
        raise ValueError("it does not end as one")
    position = 0
    for _ in range(2):  # the handles of the metaindex block, which is empty here, and of the index block
        offset, position = _varint(footer, position)
        size, position = _varint(footer, position)
    for _, handle in _block(data, offset, size):
        start, behind = _varint(handle, 0)
        length, _ = _varint(handle, behind)
        yield from _block(data, start, length)


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields a block's keys and values; a key is stored as the length shared with the previous key, and the rest. The
    block ends with restart points, positions where nothing is shared, and their number in the last word."""
    end = offset + size
    compression, checksum = data[end], int.from_bytes(data[end + 1 : end + TRAILER], "little")
    if _masked(google_crc32c.value(data[offset : end + 1])) != checksum:
        raise ValueError("a block does not have its checksum")
    if compression:
        raise ValueError("its blocks are compressed, which TensorFlow's are not")
    block = data[offset:end]
    restarts = int.from_bytes(block[-4:], "little")
    position, key = 0, b""
    while position < len(block) - 4 * (restarts + 1):
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + own]
        position += own
        yield key, block[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns a number stored in seven bits per byte, the lowest first, and the position after it."""
    value, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _message(data: bytes) -> Message:
    """Parses a protocol buffer's fields; nested messages stay bytes."""
    fields: Message = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value: int | bytes
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
            case 2:
                length, position = _varint(data, position)
                value, position = data[position : position + length], position + length
            case 1 | 5 as wire:
                width = 8 if wire == 1 else 4
                value, position = int.from_bytes(data[position : position + width], "little"), position + width
            case wire:
                raise ValueError(f"a field of wire type {wire}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(message: Message, field: int) -> int:
    """Returns a numeric field; zeros are not stored."""
    value = message.get(field, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {field} is no number")
    return value


def _entry(message: Message) -> Entry:
    """Parses a BundleEntryProto; raises `ValueError` if the tensor is sliced."""
    if 7 in message:
        raise ValueError("it has tensors in slices, which are not read here")
    shapes = message.get(2, [b""])
    dimensions = _message(bytes(shapes[-1])).get(2, []) if isinstance(shapes[-1], bytes) else []
    number = _number(message, 1)
    return Entry(
        type=TYPES.get(number, f"TensorFlow type {number}"),
        shape=tuple(_number(_message(size), 1) for size in dimensions if isinstance(size, bytes)),
        shard=_number(message, 3),
        offset=_number(message, 4),
        size=_number(message, 5),
        checksum=_number(message, 6),
    )


def _masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + MASK_DELTA) & 0xFFFFFFFF
