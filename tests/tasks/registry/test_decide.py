"""What is said where versions cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.registry.candidates import labels_in_words
from tasks.registry.decide import _majority, why_labels_differ, why_nothing_is_frozen
from tests.support.findings import FINDINGS
from tests.support.recipes import build_recipe


@pytest.mark.parametrize(
    ("data", "way_out"),
    [
        ({"source": "sample"}, "switch split.group_duplicates on"),
        ({"files": {"train": "a.csv", "test": "b.csv"}}, "`promote 3` makes this one champion by hand"),
        ({"files": {"train": "a.csv"}}, "switch split.group_duplicates on"),
    ],
)
def test_without_a_frozen_test_set_there_is_a_way_out(data: dict[str, Any], way_out: str) -> None:
    assert why_nothing_is_frozen(build_recipe({"data": data}), "3") == (
        "the name has no frozen test set, because a label has no test message without a near-duplicate in train or"
        f" validation: {way_out}"
    )


def test_labels_in_another_spelling_than_the_frozen_test_sets_are_told_with_the_option_that_mends_it() -> None:
    assert why_labels_differ(("0", "1"), {"1.0", "0.0"}) == (
        "its labels are 0, 1, those of the frozen test set 0.0, 1.0, which is only another spelling: run again with"
        """ --data.labels '{"0.0": ["0"], "1.0": ["1"]}'"""
    )
    assert why_labels_differ(("ham", "junk"), {"ham", "spam"}).endswith(": other labels need another registry.name")


def test_labels_with_any_name_are_listed_on_one_line_and_are_no_markup() -> None:
    assert labels_in_words(["line\nbreak", "<b>neg</b>", "x" * 300]) == (rf"line break, \<b\>neg\</b\> or {'x' * 40}…")
    assert labels_in_words([f"{number}" for number in range(12)]).endswith("8, 9 or 2 more")


def test_the_majority_is_that_of_messages_as_they_come_and_not_of_balanced_training_messages(tmp_path: Path) -> None:
    replace(FINDINGS, majority="spam", counts={"train": {"ham": 665, "spam": 665}}).save(tmp_path)
    case: Any = SimpleNamespace(evaluated=SimpleNamespace(folder=tmp_path), targets=["ham", "spam", "ham"])
    assert _majority(case) == ["spam"] * 3
