"""Two million messages through the steps that make tables, in less than a gigabyte of memory: by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks import volume


@pytest.mark.volume
@pytest.mark.skipif(not os.environ.get("FINETUNE_VOLUME"), reason="set FINETUNE_VOLUME=1: a quarter of an hour")
@pytest.mark.timeout(3600)
def test_the_tables_of_two_million_messages_fit_a_gigabyte(tmp_path: Path) -> None:
    steps = volume.ALL_STEPS[: volume.ALL_STEPS.index("tokenize") + 1]
    runs = volume.measure(2_000_000, tmp_path, steps)
    assert {run.rows for run in runs} == {2_000_000}
    # The kernel's own count of what a process had in memory at most, the pages of its libraries and files included.
    assert {run.step: run.resident for run in runs if run.resident >= volume.TABLE_MEGABYTES * 1e6} == {}


def test_the_messages_of_the_benchmark_are_always_the_same(tmp_path: Path) -> None:
    for name in ("one.csv", "other.csv"):
        volume.write_messages(tmp_path / name, 1000)
    lines = (tmp_path / "one.csv").read_text().splitlines()
    assert (len(lines), lines[0]) == (1001, "label,text")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()
    assert {line.split(",")[0] for line in lines[1:]} == {"ham", "spam"}


@pytest.mark.parametrize("file", sorted(volume.RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_the_page_has_the_stored_figures(file: Path) -> None:
    page = volume.PAGE.read_text(encoding="utf-8")
    assert volume.page_with_table(page, json.loads(file.read_text(encoding="utf-8"))) == page
