"""Readable JSON files in UTF-8, where equal values give equal bytes; and JSON that nobody vouches for."""

import json
from pathlib import Path
from typing import Any


def save_json(value: Any, file: Path) -> None:
    """Writes `value`, indented, keys in their order; raises ValueError for NaN, which is not JSON."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


MOST_BYTES = 2**28  # of JSON that nobody vouches for; tokenizers of large vocabularies have a tenth of it


def read_strange_json(file: Path) -> Any:
    """Returns the value in a file that nobody vouches for. Raises OSError if it cannot be read, and ValueError for what
    is not JSON in UTF-8, has brackets without end, or more than `MOST_BYTES`, which are not read."""
    with file.open("rb") as source:
        content = source.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes, the most that are read")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("too many brackets in one another") from None


def load_json(file: Path) -> Any:
    """Reads what `save_json` wrote."""
    return json.loads(file.read_text(encoding="utf-8"))
