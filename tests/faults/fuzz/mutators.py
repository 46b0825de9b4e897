"""Mutates what lies inside a frame, such as a header behind its length, which blind mutations hardly keep whole."""

from __future__ import annotations

from collections.abc import Callable

import atheris

Mutator = Callable[[bytes, int, int], bytes]
LENGTH = 8  # bytes before the header of a safetensors file
TAIL = 8  # bytes behind the footer of a Parquet file: its length and the magic


def safetensors(data: bytes, most: int, seed: int) -> bytes:
    """Mutates the header, with the length before it, or any byte."""
    size = int.from_bytes(data[:LENGTH], "little")
    if seed % 4 == 0 or not 0 < size <= len(data) - LENGTH:
        return bytes(atheris.Mutate(data, most))
    header = bytes(atheris.Mutate(data[LENGTH : LENGTH + size], max(1, most - LENGTH - (len(data) - LENGTH - size))))
    return (len(header).to_bytes(LENGTH, "little") + header + data[LENGTH + size :])[:most]


def parquet(data: bytes, most: int, seed: int) -> bytes:
    """Mutates the footer, with the length behind it, or the pages, or any byte."""
    size = int.from_bytes(data[-TAIL:-4], "little")
    if seed % 4 == 0 or not 0 < size <= len(data) - TAIL:
        return bytes(atheris.Mutate(data, most))
    at = len(data) - TAIL - size
    pages, footer = data[:at], data[at:-TAIL]
    if seed % 4 == 1:
        pages = bytes(atheris.Mutate(pages, max(1, most - len(footer) - TAIL)))
    else:
        footer = bytes(atheris.Mutate(footer, max(1, most - len(pages) - TAIL)))
    return (pages + footer + len(footer).to_bytes(4, "little") + data[-4:])[:most]


MUTATORS: dict[str, Mutator] = {"safetensors": safetensors, "parquet": parquet}
