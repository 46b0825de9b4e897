"""The checksum of a file, as manifests, cache keys and checkpoints have it."""

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of the file's bytes in 64 hexadecimal digits, read in pieces; raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
