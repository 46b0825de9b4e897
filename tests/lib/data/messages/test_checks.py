"""What is found in a data set before anything is trained on it."""

from __future__ import annotations

import pandas as pd
import pytest

from lib.data.messages.checks import check_messages, find_repeated, label_warnings, left_out_warnings, text_warnings

PLAIN = {"ham": 60, "spam": 40}


def test_a_good_data_set_gives_no_warning() -> None:
    messages = pd.DataFrame({"id": [3, 5], "text": ["hello", "win now"], "label": ["ham", "spam"]})
    repeated, warnings = check_messages(messages, {})
    assert repeated.as_json() == {"duplicate_texts": 0, "near_duplicate_texts": 0, "contradicting_texts": 0}
    assert [sentence for sentence in warnings if "fewer than 10 rows" not in sentence] == []
    assert label_warnings(PLAIN) == []


def test_repeated_texts_are_counted_exactly_and_nearly() -> None:
    repeated = find_repeated(["a b", "a b", "A b!", "c", "c", "d"], ["x"] * 6)
    assert (repeated.copies, repeated.near, repeated.contradictions) == (2, 3, [])
    assert text_warnings(repeated, range(6)) == [
        "3 of 6 rows repeat the text of another but for case, digits, punctuation and space, 2 of them exactly: they"
        " tell less than their number"
    ]


def test_a_text_with_two_labels_is_named_by_its_rows() -> None:
    texts = ["a", "b", "c", "a", "a", "b"] + [f"other {'x' * number}" for number in range(100)]
    repeated = find_repeated(texts, ["ham", "ham", "spam", "ham", "spam", "spam"] + ["ham"] * 100)
    assert repeated.contradictions == [(0, 4), (1, 5)]
    assert text_warnings(repeated, range(1000, 1106)) == [
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
