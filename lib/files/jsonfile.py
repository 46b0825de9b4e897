"""JSON files as artifacts hold them: readable, the same bytes for the same value, UTF-8."""

import json
from pathlib import Path
from typing import Any


def save_json(value: Any, file: Path) -> None:
    """Writes `value`, indented; keys keep their order. NaN is refused (ValueError): it is not JSON."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def load_json(file: Path) -> Any:
    """What `save_json` wrote."""
    return json.loads(file.read_text(encoding="utf-8"))
