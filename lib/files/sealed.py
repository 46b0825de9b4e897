"""Puts a checksum around a small text, so that damage to its file is noticed."""

import hashlib
import json


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


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
