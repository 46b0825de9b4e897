"""Questions about tables in parts: the same answers under any memory, and one sentence where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.data import parts
from lib.data.messages.alike import Alike, find_alike
from lib.data.messages.keys import keys_of
from lib.data.parts import Parts, PartsWriter
from lib.data.queries import Queries
from lib.data.tables import KEYED_MESSAGES
from lib.errors import StoreError


def written(folder: Path, rows: list[tuple[int, str, str]]) -> Parts:
    ids, texts, labels = zip(*rows, strict=True)
    keys = keys_of(texts)
    with PartsWriter(folder, KEYED_MESSAGES) as writer:
        table = pa.table({"id": ids, "text": texts, "label": labels, **dict(zip(keys.schema.names, keys, strict=True))})
        writer.write(table)
    return Parts(folder, KEYED_MESSAGES)


def test_copies_near_duplicates_and_contradictions_over_several_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", 2)
    train = written(
        tmp_path / "it's train",  # a quote in a path
        [(0, "win", "spam"), (2, "WIN!", "spam"), (3, "win", "ham"), (4, "win", "ham"), (5, "lunch", "ham")],
    )
    test = written(tmp_path / "test", [(1, "lunch", "spam"), (6, "unique", "ham")])
    with Queries(tmp_path / "scratch") as queries:
        found = find_alike(queries, {0: train, 2: test}, examples=3)
    # Of seven rows four texts; of these "win" and "WIN!" are near-duplicates. Train's rows come before those of test.
    assert found == Alike(copies=3, near=4, contradicting=2, examples=[(0, 3), (5, 1)])


@pytest.mark.parametrize("folder", ["run[1]", "a*b", "what?", "id=7", "label=spam"])
def test_a_path_is_no_pattern_and_its_folders_are_no_columns(folder: str, tmp_path: Path) -> None:
    for other in ("run1", "aab", "whats"):  # which a pattern would find
        written(tmp_path / other / "table", [(5, "lunch", "ham")])
    table = written(tmp_path / folder / "table", [(0, "win", "spam"), (1, "win", "ham")])
    with Queries(tmp_path / "scratch") as queries:
        queries.view("rows", table, ("id", "label"))
        found = queries.ask("SELECT id, label FROM rows ORDER BY id").to_pylist()
    assert found == [{"id": 0, "label": "spam"}, {"id": 1, "label": "ham"}]


def test_answers_do_not_depend_on_the_memory_and_what_does_not_fit_is_on_the_disk_meanwhile(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    count = 300_000
    keys = draw.integers(0, 2**63, count).astype("uint64")
    columns = {"id": np.arange(count), "text": ["x"] * count, "label": ["a"] * count}
    with PartsWriter(tmp_path / "table", KEYED_MESSAGES) as writer:
        writer.write(pa.table({**columns, "near_high": keys, "near_low": keys, "exact": keys}, schema=KEYED_MESSAGES))
    answers = []
    for megabytes in (24, 512):
        with Queries(tmp_path / "scratch", megabytes=megabytes) as queries:
            queries.view("rows", Parts(tmp_path / "table", KEYED_MESSAGES), ("id", "near_low"))
            answers.append(queries.ask("SELECT id FROM rows ORDER BY near_low").column("id").to_numpy())
    assert np.array_equal(*answers)
    assert np.array_equal(answers[0], np.argsort(keys, kind="stable"))
    assert not list((tmp_path / "scratch").glob("*"))


def test_what_cannot_be_answered_is_one_sentence(tmp_path: Path) -> None:
    with Queries(tmp_path / "scratch", megabytes=24) as queries, pytest.raises(StoreError) as raised:
        queries.ask("SELECT array_agg(range) FROM range(100_000_000)")
    assert "FINETUNE_TABLE_MEMORY" in str(raised.value)
    assert "\n" not in str(raised.value)
