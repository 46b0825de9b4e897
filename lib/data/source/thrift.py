"""Reads structures in thrift's compact protocol, of bytes that nobody vouches for: only the fields that are wanted are
kept, so that memory does not grow with what is not.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Wanted = Mapping[int, Any]  # fields by number; of a structure, or a list of structures, the fields in it

DEEPEST = 12  # structures and lists in one another; the footer of a Parquet file has seven
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCTURE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12


class Thrift:
    """Reads `block` from its beginning; `at`: how much was read.

    Raises IndexError where the bytes end, and ValueError for what is no structure.
    """

    def __init__(self, block: bytes) -> None:
        self._block, self._depth = block, 0
        self.at = 0

    def structure(self, wanted: Wanted) -> dict[int, Any]:
        """Returns the wanted fields that are there: whole numbers, structures, and lists of these; anything else as
        None."""
        self._deeper()
        fields: dict[int, Any] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._number()
            if number in wanted:
                fields[number] = self._value(byte & 15, wanted[number])
            else:
                self._pass(byte & 15)
        self._depth -= 1
        return fields

    def _value(self, kind: int, wanted: Wanted) -> Any:
        if kind == BYTE:
            return self._byte()
        if kind in (I16, I32, I64):
            return self._number()
        if kind == STRUCTURE:
            return self.structure(wanted)
        if kind in (LIST, SET):
            self._deeper()
            inner, size = self._list()
            values = [self._value(inner, wanted) for _ in range(size)]
            self._depth -= 1
            return values
        self._pass(kind)
        return None

    def _pass(self, kind: int) -> None:
        """Reads a value that is not wanted."""
        if kind in (TRUE, FALSE):  # in a structure a boolean is its kind
            return
        if kind == BYTE:
            self._byte()
        elif kind in (I16, I32, I64):
            self._varint()
        elif kind == STRUCTURE:
            self.structure({})
        elif kind == DOUBLE:
            self._skip(8)
        elif kind == BINARY:
            self._skip(self._varint())
        elif kind in (LIST, SET):
            self._deeper()
            inner, size = self._list()
            for _ in range(size):
                self._pass(inner)
            self._depth -= 1
        else:
            raise ValueError(f"it has a field of kind {kind}, which is none")

    def _list(self) -> tuple[int, int]:
        """Returns the kind of a list's values, and how many there are. A boolean in one is a byte."""
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        return (BYTE if head & 15 in (TRUE, FALSE) else head & 15), size

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("it has too many structures in one another")

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
                raise ValueError("it has a number without end")
        return value | byte << shift

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)  # zigzag
