"""The checksum of files in manifests, cache keys and checkpoints, and of what JSON can hold."""

import errno
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTLED_NANOSECONDS = 10**9
# Files that this process has found whole: path, inode, time of the last change, size, checksum.
_WHOLE: set[tuple[str, int, int, int, str]] = set()
OF_THE_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # errors that say nothing of a file
SEAL = "sha256"  # the field of a JSON object that has the checksum of its other fields


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of the file in 64 hexadecimal digits; raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_problem(path: Path, name: str, size: int, sha256: str) -> str:
    """Returns in a phrase what is wrong with a file of this size (bytes) and checksum, called `name`; "" for nothing.

    What this process has found whole is not read again until it changes: a run checks a file several times, and large
    weights should be hashed once. Raises OSError if it cannot be told, because too many files are open.
    """
    try:
        stat = path.stat()
        if stat.st_size != size:
            return f"{name} has {stat.st_size:,} bytes instead of {size:,}"
        # The time of the last change of anything: nobody sets that back, and taking permission away is one.
        seen = (str(path), stat.st_ino, stat.st_ctime_ns, stat.st_size, sha256)
        if seen not in _WHOLE:
            if file_sha256(path) != sha256:
                return f"{name} does not have its checksum"
            # A younger file could change again within the clock's resolution.
            if time.time_ns() - stat.st_ctime_ns > SETTLED_NANOSECONDS:
                _WHOLE.add(seen)
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise
        return f"{name} cannot be read ({error.strerror})"
    return ""


def json_sha256(value: Any) -> str:
    """Returns the SHA-256 of a value in its one form as JSON: equal values have the same on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a JSON object with the checksum of its fields in one more, `SEAL`, so that a change to it is noticed."""
    written = json.loads(json.dumps(content))  # as it is read back: tuples are lists, keys are texts
    return {**written, SEAL: json_sha256(written)}


def seal_holds(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object that was `sealed` is as it was."""
    return content.get(SEAL) == json_sha256({name: value for name, value in content.items() if name != SEAL})
