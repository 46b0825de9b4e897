"""Which columns look like texts, labels and splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from lib.data.inspection.columns import Roles, describe, find_roles, has_header, lists_of_labels
from lib.data.source.cells import Number
from lib.data.source.columns import Column

SENTENCES = [f"sentence number {number} has some words" for number in range(20)]


def roles(said: dict[str, Column] | None = None, **columns: Sequence[Any]) -> Roles:
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return find_roles(describe(list(columns), records), len(records), **(said or {}))


def test_by_what_they_are_called() -> None:
    found = roles(
        id=range(20), title=["short title here"] * 20, text=["a", "b"] * 10, Label=["x"] * 20, lang=["e", "d"] * 10
    )
    assert found == Roles("text", "Label", None, ("title", "lang")[1:])


def test_by_what_they_hold() -> None:
    found = roles(
        url=["https://example.org/a/long/path/" * 3] * 20, b=SENTENCES, c=["p", "q", "r", "s"] * 5, d=[1, 0] * 10
    )
    assert found == Roles("b", "d", None, ("c",))


def test_what_somebody_said_stands() -> None:
    found = roles({"label": "c"}, text=SENTENCES, label=["x", "y"] * 10, c=["p", "q"] * 10)
    assert (found.text, found.label, found.also) == ("text", "c", ("label",))


def test_values_that_hardly_come_again_are_no_labels() -> None:
    assert roles(b=SENTENCES, score=[number / 7 for number in range(20)]).label is None


def test_a_column_of_splits() -> None:
    found = roles(text=SENTENCES, label=["x", "y"] * 10, part=["Train", "TEST", "dev", "Train"] * 5)
    assert (found.split, found.also) == ("part", ())
    assert roles(text=SENTENCES, label=["x", "y"] * 10, part=["train", "other"] * 10).split is None


def test_several_labels_a_text() -> None:
    columns = {"text": SENTENCES, "labels": [["x", "y"], ["x"]] * 10}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    facts = describe(list(columns), records)
    assert find_roles(facts, 20).label is None
    assert lists_of_labels(facts) == "labels"


def test_what_is_said_of_a_column() -> None:
    records = [{"a": value} for value in (Number("1"), "x y", "x y", None, " ", "twelve of these", True)]
    (facts,) = describe(["a"], records)
    assert (facts.holds, facts.distinct, facts.empty) == ("numbers and texts and booleans", 4, 2)
    assert facts.examples == ("1", "x y", "twelve of these")
    assert facts.as_json()["characters"] == 5.2


@pytest.mark.parametrize(
    ("first", "rows", "header"),
    [
        (("text", "label"), [("a b", "x"), ("c d", "y")], True),
        (("", "text", "label"), [("0", "a b", "x")], True),  # pandas' index
        (("v1", "v2", "", ""), [("ham", "a b", "", "")], True),
        (("text", "stars", "2024"), [("a b", "5", "x")], True),
        (("y", "2024"), [("n", "2025"), ("y", "2026")], False),
        (("0", "1"), [("a b", "x")], False),
        (("3", "a title", "words"), [("4", "another", "words more")], False),
        (("ham", "see you"), [("spam", "win"), ("ham", "ok")], False),
        (("text", "text"), [("a", "b")], False),
        (("a sentence that is too long to be what somebody would call a column of a table", "x"), [("b", "y")], False),
        ((), [], False),
    ],
)
def test_whether_the_first_row_has_names(first: tuple[str, ...], rows: list[tuple[str, ...]], header: bool) -> None:
    records = [dict(zip(first, row, strict=True)) for row in rows]
    values = [{record[name] for record in records} for name in first]
    assert has_header(first, describe(first, records), values) == header
