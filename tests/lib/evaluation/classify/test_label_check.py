"""The list of suspects as a file, and what is said of it in short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lib.evaluation.classify.label_check import (
    LISTED,
    LabelCheck,
    Suspect,
    doubts_warning,
    listed_suspects,
    load_label_check,
)
from lib.evaluation.classify.suspects import suspects

MESSAGES = pd.DataFrame(
    {
        "id": [7, 3, 4, 9],
        "split": ["train", "train", "validation", "test"],
        "text": ["win", "home", "prize", "lunch"],
        "label": ["spam", "ham", "ham", "ham"],
        "file": ["a.csv", "a.csv", "a.csv", "b.jsonl"],
        "row": [7, 3, 4, 1],
        "line": [9, np.nan, 6, np.nan],  # as pandas has a column with gaps
        "group": [0, 1, 2, 3],
    }
)
TARGETS = np.array([1, 0, 0, 0])
PROBABILITIES = np.array([[0.2, 0.8], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]])


def test_the_list_is_in_order_and_comes_back_with_its_first_rows(tmp_path: Path) -> None:
    targets = np.append(TARGETS, 1)
    messages = pd.concat([MESSAGES, MESSAGES.head(1).assign(id=10)], ignore_index=True)
    found = suspects(targets, np.vstack([PROBABILITIES, [0.3, 0.7]]))
    check = LabelCheck(by="somebody", accuracy=0.8, rows=5, of_rows=9, counted=int(found.issues.sum()))
    check.save(tmp_path, listed_suspects(messages.iloc[found.rows], found, ["ham", "spam"]))
    assert pq.read_schema(tmp_path / "suspects.parquet").equals(LISTED)
    table = pd.read_parquet(tmp_path / "suspects.parquet")
    assert table["id"].tolist() == [4, 9, 10, 7, 3]
    assert table["margin"].is_monotonic_increasing
    again = load_label_check(tmp_path)
    assert (again.by, again.rows, again.of_rows, again.counted) == ("somebody", 5, 9, 1)
    first = again.first[0]
    assert first == Suspect(4, "validation", "prize", "ham", "spam", first.margin, True, "a.csv", 4, 6)
    assert first.margin == PROBABILITIES[2, 0] - PROBABILITIES[2, 1]
    assert [suspect.line for suspect in again.first] == [6, None, 9, 9, None]


@pytest.mark.parametrize(
    ("counted", "accuracy", "warns"), [(11, 0.97, True), (10, 0.97, False), (200, 0.6, False), (11, 0.9, True)]
)
def test_a_person_is_told_of_many_doubts_by_something_that_understands_the_texts(
    counted: int, accuracy: float, warns: bool
) -> None:
    check = LabelCheck("somebody", accuracy, 1_000, 2_000, counted)
    warning = doubts_warning(check)
    assert (warning is not None) is warns
    if warning:
        assert f"doubts {counted} of 1,000 labels (1.1%), by somebody, which agrees with {accuracy:.1%}" in warning
