"""Files and situations that people really have: ../shared/cases, which is not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

CASES = Path(__file__).parents[2].parent / "shared" / "cases"


def case(folder: str, file: str) -> Path:
    """Returns a file of a case; skips the test where it is absent."""
    path = CASES / folder / file
    if not path.exists():
        pytest.skip(f"needs ../shared/cases/{folder}")
    return path
