"""What pretraining is worth: the tables of the pages are those of the stored results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import transfer

FILES = sorted(transfer.RESULTS.glob("*.json"))


def test_there_are_results() -> None:
    assert FILES


@pytest.mark.parametrize("page", transfer.PAGES, ids=lambda page: page.name)
def test_the_pages_have_the_stored_figures(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    results = json.loads(FILES[0].read_text(encoding="utf-8"))
    assert transfer.page_with_tables(text, results) == text
    assert transfer.table(results) in text


def test_a_cell_has_accuracy_interval_and_seconds_and_what_was_not_run_is_empty() -> None:
    run = {
        "data": "trec",
        "model": "encoder",
        "test/accuracy": 0.958,
        "test/accuracy_low": 0.937,
        "test/accuracy_high": 0.973,
        "baseline/test/accuracy": 0.83,
        "test/rows": 500.0,
        "seconds": {"features": 12.2, "finetune": 59.7, "evaluate": 10.7},
    }
    row = next(line for line in transfer.table({"runs": [run]}).splitlines() if line.startswith("| TREC"))
    assert row.startswith(
        "| TREC, 6 classes, published test set (500 texts) | 83.0% | **95.8%** (93.7 to 97.3)<br>12 + 60 s | "
    )
    assert row.endswith(" |  |  |  |  |")
