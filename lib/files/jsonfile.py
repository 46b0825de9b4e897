"""Readable JSON files in UTF-8; equal values give equal bytes."""

import json
from pathlib import Path
from typing import Any


def save_json(value: Any, file: Path) -> None:
    """Writes `value`, indented, keys in their order; raises ValueError for NaN, which is not JSON."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def load_json(file: Path) -> Any:
    """Reads what `save_json` wrote."""
    return json.loads(file.read_text(encoding="utf-8"))
