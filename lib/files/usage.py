"""What lies in a folder: how many bytes, and since when."""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path


def bytes_in(path: Path) -> int:
    """Returns the bytes of the files at `path` and below; 0 if there is nothing."""
    return sum(state.st_size for state in states_in(path) if stat.S_ISREG(state.st_mode))


def last_change(path: Path) -> datetime:
    """Returns when `path`, or something below, changed last (UTC); 1970 if there is nothing."""
    return datetime.fromtimestamp(max((state.st_mtime for state in states_in(path)), default=0), UTC)


def states_in(path: Path) -> Iterator[os.stat_result]:
    """Yields the stat of `path` and of everything below, leaving out what vanishes meanwhile."""
    below = (Path(folder) / name for folder, folders, files in os.walk(path) for name in (*folders, *files))
    for place in (path, *below):
        try:
            yield place.lstat()
        except FileNotFoundError:
            continue
