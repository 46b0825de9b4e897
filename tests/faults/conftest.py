"""The fixture by which every test of a fault says what became of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.outcomes import KEPT, Outcomes


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """What becomes of the faults of this module; kept in a file at full scale. Nothing may be lost."""
    module = request.module
    noted = Outcomes(module.__name__.rpartition(".")[2].removeprefix("test_"), str(module.__doc__).splitlines()[0])
    yield noted
    if KEPT:
        noted.save()
    assert not noted.lost, "\n".join(noted.lost)
