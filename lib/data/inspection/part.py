"""Takes the beginning of a file that is too long to be looked at in whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from lib.data.source.data_file import DataFile

QUOTE, LINE_END = b'"', b"\n"
MOST_TRIED = 10_000  # line ends
WIDE = b"\0"  # of characters with several bytes, which cannot be cut so easily
JSON = re.compile(rb"(\xef\xbb\xbf)?\s*[\[{]")


def beginning(file: DataFile, size: int) -> DataFile:
    """Returns the file with at most `size` bytes: whole lines, and no quoted field that is cut off. A file whose lines
    are no rows, such as one list in JSON, stays whole; it is read from its beginning only anyway."""
    with file.opened() as source:
        block = source.read(size + 1)
    if len(block) <= size or WIDE in block or not _has_rows_as_lines(block):
        return file
    end = _end_of_a_row(block[:size])
    return replace(file, end=end) if end else file


def _has_rows_as_lines(block: bytes) -> bool:
    if not JSON.match(block):
        return True
    first = block.removeprefix(b"\xef\xbb\xbf").lstrip().partition(LINE_END)[0]
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _end_of_a_row(block: bytes) -> int:
    """Returns where the last line ends before which double quotes come in pairs: outside of a quoted field they do. 0
    if there is no line end."""
    last = end = block.rfind(LINE_END) + 1
    quotes = block.count(QUOTE, 0, end)
    for _ in range(MOST_TRIED):
        if quotes % 2 == 0 or not end:
            break
        before = block.rfind(LINE_END, 0, end - 1) + 1
        quotes -= block.count(QUOTE, before, end)
        end = before
    return end if end and quotes % 2 == 0 else last
