"""Which files are opened meanwhile, by any process and in any language: what the kernel tells (inotify), not Python."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of a name


@dataclass
class Opened:
    """The files that were opened, each as often as it was."""

    descriptor: int
    watched: dict[int, Path]
    _seen: list[Path] = field(default_factory=list)

    def so_far(self) -> list[Path]:
        while True:
            try:
                read = os.read(self.descriptor, 2**16)
            except BlockingIOError:
                return self._seen
            while read:
                watch, mask, _, length = EVENT.unpack_from(read)
                if mask & IN_OPEN:
                    self._seen.append(self.watched[watch])
                read = read[EVENT.size + length :]


@contextmanager
def opened(files: Sequence[Path]) -> Iterator[Opened]:
    """Watches these files in the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    try:
        watched = {libc.inotify_add_watch(descriptor, bytes(file), IN_OPEN): file for file in files}
        assert min(watched, default=0) >= 0, "a file cannot be watched"
        yield Opened(descriptor, watched)
    finally:
        os.close(descriptor)
