"""Where really pretrained weights lie on this machine, if they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PLACES = [
    *([Path(os.environ["FINETUNE_REAL_MODELS"])] if os.environ.get("FINETUNE_REAL_MODELS") else []),
    PROJECT / ".models",  # filled by `make models`
    PROJECT.parent / "shared" / "models" / "weights",
]


def real_model(name: str) -> Path:
    """The folder of really pretrained weights of this name; a test without them skips by it."""
    found = next((place / name for place in PLACES if (place / name).is_dir()), None)
    if found is None:
        pytest.skip(f"the weights {name} are in none of {', '.join(map(str, PLACES))}")
    return found
