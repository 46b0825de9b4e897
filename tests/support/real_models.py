"""Where really pretrained weights lie on this machine, if they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.real_weights import PLACES, real_weights


def real_model(name: str) -> Path:
    """The folder of really pretrained weights of this name; a test without them skips by it."""
    found = real_weights(name)
    if found is None:
        pytest.skip(f"the weights {name} are in none of {', '.join(map(str, PLACES))}")
    return found
