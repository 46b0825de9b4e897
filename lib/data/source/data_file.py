"""A file of data: where its bytes are, and what errors call it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib.data.source.compressed import opened
from lib.errors import MessagesError

LONGEST_LINE = 16 * 2**20  # bytes: a longer line is no text format, and would fill the memory
BUFFER = 2**18  # bytes read at once


@dataclass(frozen=True)
class DataFile:
    """A file that can be opened again and again. name: what errors call it; longest: bytes that a line may have; end:
    where reading ends, if it is only the beginning that is wanted."""

    path: Path
    name: str
    longest: int = LONGEST_LINE
    end: int | None = None

    @contextmanager
    def opened(self) -> Iterator[io.BufferedReader]:
        """Opens the bytes, unpacked if they are compressed."""
        with opened(self.path) as source:
            yield source if self.end is None else io.BufferedReader(_Beginning(source, self.end), BUFFER)

    def head(self, size: int) -> bytes:
        """Reads the first `size` bytes, or all there are."""
        with self.opened() as source:
            return source.read(size)

    @contextmanager
    def opened_lines(self) -> Iterator[io.BufferedReader]:
        """Opens the bytes of a text; raises MessagesError at a line that would fill the memory."""
        with self.opened() as source:
            yield io.BufferedReader(_ShortLines(source, self.name, self.longest), BUFFER)


class _Beginning(io.RawIOBase):
    """The first bytes of a stream."""

    def __init__(self, source: io.BufferedReader, size: int) -> None:
        self._source, self._left = source, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._source.read(min(len(buffer), self._left))
        buffer[: len(block)] = block
        self._left -= len(block)
        return len(block)


class _ShortLines(io.RawIOBase):
    """Passes bytes on while they have line ends."""

    def __init__(self, source: io.BufferedReader, name: str, longest: int) -> None:
        self._source, self._name, self._longest = source, name, longest
        self._lines, self._since = 0, 0  # line ends so far, and bytes since the last one

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._source.read(len(buffer))
        buffer[: len(block)] = block
        last = max(block.rfind(b"\n"), block.rfind(b"\r"))
        self._since = self._since + len(block) if last < 0 else len(block) - last - 1
        if self._since > self._longest:
            raise MessagesError(
                f"{self._name}, line {self._lines + 1} is longer than {self._longest:,} bytes: is it the right file,"
                " and is its format the one that is said?"
            )
        self._lines += block.count(b"\n")
        return len(block)
