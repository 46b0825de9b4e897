"""Puts a checksum around a small text, so that damage to its file is noticed, and sets damaged files aside."""

import hashlib
import json
from pathlib import Path

from lib.files.disk import remove

ASIDE = ".damaged"  # what is added to the name of a file that is of no use


def sealed(text: str) -> str:
    """Returns what to write into a file for the text."""
    return json.dumps({"sha256": _checksum(text), "record": text})


def unsealed(content: bytes) -> str:
    """Returns the text that `sealed` put into a file; raises ValueError if it is not as it was."""
    try:
        held = json.loads(content)
        text, checksum = held["record"], held["sha256"]
        if isinstance(text, str) and _checksum(text) == checksum:
            return text
    except (KeyError, TypeError, RecursionError):
        pass
    raise ValueError("the file is damaged")


def set_aside(file: Path) -> Path:
    """Renames a damaged file, so that nobody reads it again and somebody may look at it; returns its new place. Raises
    OSError if it cannot be renamed."""
    aside = file.with_name(f"{file.name}{ASIDE}")
    remove(aside)
    return file.rename(aside)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
