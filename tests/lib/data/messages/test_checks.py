"""What is found in a data set before anything is trained on it."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from lib.data.messages.alike import find_alike
from lib.data.messages.checks import (
    EXAMPLES,
    alike_in_memory,
    label_warnings,
    left_out_warnings,
    message_warnings,
    text_warnings,
)
from lib.data.messages.keys import keys_of
from lib.data.parts import Parts, PartsWriter
from lib.data.queries import Queries
from lib.data.tables import KEYED_MESSAGES, KEYS

PLAIN = {"ham": 60, "spam": 40}


def test_a_good_data_set_gives_no_warning() -> None:
    alike = alike_in_memory(["hello", "win now"], ["ham", "spam"], [3, 5])
    warnings = message_warnings({"ham": 1, "spam": 1}, alike, {})
    assert alike.as_json() == {"duplicate_texts": 0, "near_duplicate_texts": 0, "contradicting_texts": 0}
    assert [sentence for sentence in warnings if "fewer than 10 rows" not in sentence] == []
    assert label_warnings(PLAIN) == []


def test_repeated_texts_are_counted_exactly_and_nearly() -> None:
    alike = alike_in_memory(["a b", "a b", "A b!", "c", "c", "d"], ["x"] * 6, range(6))
    assert (alike.copies, alike.near, alike.contradicting, alike.examples) == (2, 3, 0, [])
    assert text_warnings(alike, 6) == [
        "3 of 6 rows repeat the text of another but for case, digits, punctuation and space, 2 of them exactly: they"
        " tell less than their number"
    ]


def test_rows_in_memory_are_searched_as_tables_are(tmp_path: Path) -> None:
    draw = random.Random(1)
    texts = ["".join(draw.choices("ab!B", k=draw.randint(1, 4))) for _ in range(300)]
    labels = draw.choices(["ham", "spam"], [9, 1], k=300)
    columns = {"id": range(300), "text": texts, "label": labels}
    with PartsWriter(tmp_path / "table", KEYED_MESSAGES) as writer:
        writer.write(pa.table(columns | {name: keys_of(texts).column(name) for name in KEYS.names}))
    with Queries(tmp_path / "queries") as queries:
        found = find_alike(queries, {0: Parts(tmp_path / "table", KEYED_MESSAGES)}, examples=EXAMPLES)
    assert found == alike_in_memory(texts, labels, range(300))
    assert min(found[:3]) > 10


def test_a_text_with_two_labels_is_named_by_its_rows() -> None:
    texts = ["a", "b", "c", "a", "a", "b"] + [f"other {'x' * number}" for number in range(100)]
    labels = ["ham", "ham", "spam", "ham", "spam", "spam"] + ["ham"] * 100
    alike = alike_in_memory(texts, labels, range(1000, 1106))
    assert (alike.contradicting, alike.examples) == (2, [(1000, 1004), (1001, 1005)])
    assert text_warnings(alike, 106) == [
        "2 texts stand there with different labels (rows 1000 and 1004, 1001 and 1005; counted from 0): one of each"
        " pair is wrong, which bounds the accuracy that any model can reach"
    ]


@pytest.mark.parametrize(
    ("counts", "beginnings"),
    [
        ({"ham": 285, "spam": 15}, ["95.0% of the rows are 'ham', and 'spam' has 15 of 300: always answering 'ham'"]),
        ({"ham": 4827, "spam": 747}, []),
        ({"ham": 40, "spam": 41, "x": 9}, ["a label has fewer than 10 rows, too few to be learned and measured: 'x'"]),
        ({str(stars): 50 for stars in range(1, 6)}, ["the labels are the numbers 1 to 5, and are learned as names"]),
        ({f"{stars}.0": 50 for stars in range(1, 6)}, ["the labels are the numbers 1 to 5, and are learned as names"]),
        ({"0": 50, "1": 50}, []),
        ({"1": 50, "2": 50, "404": 50}, []),
        (
            {"a": 50, "b": 50, "a|c": 50, "b|c": 50},
            ["2 of 4 labels join others with '|': 'a|c' (50 rows), 'b|c' (50); one label a text is what is learned"],
        ),
        ({"R&D": 50, "a/b": 50, "x": 50}, []),
        ({"['a', 'b']": 50, "['a']": 50}, ["2 of 2 labels look like lists: \"['a', 'b']\" (50 rows), \"['a']\" (50);"]),
    ],
)
def test_labels_that_spoil_a_classifier_are_named(counts: dict[str, int], beginnings: list[str]) -> None:
    found = label_warnings(counts)
    assert len(found) == len(beginnings)
    assert all(sentence.startswith(beginning) for sentence, beginning in zip(found, beginnings, strict=True))


def test_rows_that_are_left_out_are_counted_by_reason() -> None:
    assert left_out_warnings({"empty text": 3, "empty label": 60}, 97) == [
        "63 of 160 rows are left out (empty label 60, empty text 3): left_out.parquet names each"
    ]
    assert left_out_warnings({}, 97) == []
