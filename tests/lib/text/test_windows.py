"""Rows that belong together, and their logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.model.windowed import pool
from lib.text.long_texts import WindowPooling
from lib.text.windows import Windows, lengths_of, rows_of, take

ROWS = [[1, 2], [3], [4, 5, 6], [7], [8]]
LOGITS = np.array([[1.0, 0.0], [2.0, 5.0], [6.0, -2.0], [0.5, 0.25], [1.5, 3.0]])


def of(pooling: WindowPooling) -> Windows[list[int]]:
    return Windows(ROWS, [1, 3, 1], pooling)


def test_a_text_is_its_windows() -> None:
    windows = of("mean")
    assert list(windows) == [[[1, 2]], [[3], [4, 5, 6], [7]], [[8]]]
    assert windows[1:] == [[[3], [4, 5, 6], [7]], [[8]]]
    assert windows[-1] == [[8]]
    assert lengths_of(windows).tolist() == [2, 5, 1]
    assert rows_of(windows) == ROWS
    assert take(windows, [2, 1]) == Windows([[8], [3], [4, 5, 6], [7]], [1, 3], "mean")


def test_texts_of_one_row_each_are_taken_alike() -> None:
    assert lengths_of(ROWS).tolist() == [2, 1, 3, 1, 1]
    assert rows_of(ROWS) == ROWS
    assert take(ROWS, [2, 0]) == [[4, 5, 6], [1, 2]]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [[1.0, 0.0], [8.5 / 3, 3.25 / 3], [1.5, 3.0]]), ("max", [[1.0, 0.0], [6.0, 5.0], [1.5, 3.0]])],
)
def test_logits_of_a_text_are_those_of_its_windows(pooling: WindowPooling, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(of(pooling).pooled(LOGITS), expected, rtol=1e-12)
    trained = pool(torch.from_numpy(LOGITS), [1, 3, 1], pooling)
    np.testing.assert_allclose(trained.numpy(), expected, rtol=1e-12)
