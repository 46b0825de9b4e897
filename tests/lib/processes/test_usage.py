"""A process's own peak of memory."""

from __future__ import annotations

import numpy as np

from lib.processes.usage import peak_memory
from tests.support.forked import in_a_child

BYTES = 2**26


def test_the_peak_stays_when_memory_is_given_back() -> None:
    def measured() -> int:
        before = peak_memory()
        np.ones(BYTES, np.uint8)
        return peak_memory() - before

    assert BYTES * 0.9 < in_a_child(measured) < BYTES * 1.5
