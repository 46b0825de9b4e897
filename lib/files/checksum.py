"""The checksum of files in manifests, cache keys and checkpoints, and of what JSON can hold."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "sha256"  # the field of a JSON object that has the checksum of its other fields


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of the file in 64 hexadecimal digits; raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
