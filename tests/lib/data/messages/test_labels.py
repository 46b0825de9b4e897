"""What becomes of labels as people write them."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from lib.data.messages.labels import (
    RARE_LABEL,
    UNNAMED_LABEL,
    LabelRules,
    Settled,
    mapping_flag,
    same_but_for_spelling,
    settle,
    trimmed,
)
from lib.errors import LabelError
from lib.recipes.data import names_of_labels
from tests.support.recipes import build_recipe


def settled(counts: dict[str, int], **rules: Any) -> Settled:
    return settle(counts, LabelRules(**rules), where="t.csv")


def refused(counts: dict[str, int], **rules: Any) -> str:
    with pytest.raises(LabelError) as refusal:
        settled(counts, **rules)
    return str(refusal.value)


def test_clean_labels_stay_and_are_in_alphabetical_order() -> None:
    assert settled({"spam": 3, "ham": 4}) == Settled({"spam": "spam", "ham": "ham"}, {}, ("ham", "spam"), [])


@pytest.mark.parametrize("label", [" ham", "ham\u00a0", "\u200bham\ufeff", "\tham\n", "ham"])
def test_spaces_and_invisible_characters_around_a_label_are_no_part_of_it(label: str) -> None:
    assert trimmed(label) == "ham"


def test_what_is_inside_a_label_stays() -> None:
    assert trimmed("R&D / \u200b'x'\ny") == "R&D / \u200b'x'\ny"


def test_what_was_trimmed_is_said_with_its_rows() -> None:
    found = settled({"ham": 59, "ham ": 17, "\u00a0ham": 25, "spam": 62})
    assert found.labels == ("ham", "spam")
    assert found.becomes["\u00a0ham"] == "ham"
    assert found.warnings == [
        "42 labels were written with spaces or invisible characters around them, which are trimmed:"
        r" '\xa0ham' (25 rows), 'ham ' (17)"
    ]


def test_labels_that_differ_only_in_case_are_refused_with_an_option_that_merges_them() -> None:
    counts = {"HAM": 17, "Ham": 12, "SPAM": 15, "Spam": 22, "ham": 101, "spam": 93}
    sentence = refused(counts)
    assert sentence.startswith(
        "t.csv has labels that differ only in case, spaces or the way a number is written:"
        " 'ham' (101 rows), 'HAM' (17), 'Ham' (12): 3 spellings; 'spam' (93 rows), 'Spam' (22), 'SPAM' (15): 3"
        " spellings; merge them with --data.labels "
    )
    assert settled(counts, names=advised(sentence)).labels == ("ham", "spam")


def advised(sentence: str) -> Any:
    """The value of data.labels that a refusal advises, as a recipe reads it from a command line."""
    words = shlex.split(sentence[sentence.index("--data.labels") :].partition(", or give")[0])
    return names_of_labels(build_recipe({"data": {"url": "t.csv"}}, {"data.labels": words[1]}).data.labels)


@pytest.mark.parametrize(
    "counts",
    [
        {"1": 75, "1.0": 75, "0": 3},
        {"True": 75, "true": 75, "x": 1},
        {"no": 5, "No": 6, "null": 7},
        {"it's": 5, "It's": 6, "null": 7},
        {"New York": 5, "new  york": 6, "a": 1},
        {"Ｎews": 5, "News": 6, 'a"b': 1, 'A"b': 1},
        {"-1.": 5, "-1": 6, "a: b": 1, "A: b": 1},
    ],
)
def test_the_advised_option_works_whatever_the_labels_are(counts: dict[str, int]) -> None:
    names = advised(refused(counts))
    groups = settled(counts, names=names)
    assert len(groups.labels) == len(counts) - len(names)
    assert {groups.becomes[label] for label in counts} == set(groups.labels)


@pytest.mark.parametrize("counts", [{"01": 1, "1": 1}, {"1.5": 1, "1": 1}, {"C": 1, "C++": 1}, {"é": 1, "e": 1}])
def test_what_may_be_different_labels_is_not_the_same(counts: dict[str, int]) -> None:
    assert len(settled(counts).labels) == 2


def test_labels_that_a_recipe_names_are_different_because_it_says_so() -> None:
    assert settled({"US": 5, "us": 6}, names=["us", "US"]).labels == ("us", "US")
    assert settled({"US": 5, "us": 6, "them": 1}, names={"us": [], "US": []}).labels == ("us", "US", "them")


def test_advice_keeps_what_the_recipe_merges_already() -> None:
    sentence = refused({"spam": 5, "SPAM": 4, "Spam": 3, "ham": 9}, names={"spam": ["SPAM"]})
    assert "--data.labels '{spam: [SPAM, spam, Spam]}'" in sentence


def test_a_mapping_renames_merges_and_orders_and_leaves_other_labels_as_they_are() -> None:
    names = {"spam": ["SPAM", "1"], "ham": ["0"]}
    found = settled({"1": 4, "SPAM": 2, "spam": 1, "0 ": 9, "eggs": 5, "bacon": 5}, names=names)
    assert found.labels == ("spam", "ham", "bacon", "eggs")
    assert found.becomes == {"1": "spam", "SPAM": "spam", "spam": "spam", "0 ": "ham", "eggs": "eggs", "bacon": "bacon"}


def test_a_mapping_can_swap_names() -> None:
    assert settled({"0": 1, "1": 2}, names={"0": ["1"], "1": ["0"]}).becomes == {"0": "1", "1": "0"}


def test_a_list_selects_and_orders_and_says_what_it_leaves_out() -> None:
    found = settled({"spam": 5, "ham": 9, "eggs": 3, "Spam": 1}, names=["spam", "ham"])
    assert found.labels == ("spam", "ham")
    assert found.leaves == {"eggs": UNNAMED_LABEL, "Spam": UNNAMED_LABEL}
    assert found.warnings == [
        "4 rows with labels that data.labels does not name are left out: 'eggs' (3 rows), 'Spam' (1)"
    ]


def test_a_name_without_rows_is_refused_with_the_nearest() -> None:
    assert refused({"spam": 5, "ham": 9}, names=["hem", "spam"]) == (
        "t.csv: data.labels names 'hem', but no row to train on has that label, only 'ham' (9 rows), 'spam' (5):"
        " correct the name or leave it out; did you mean 'ham'?"
    )


def test_rare_labels_are_an_error_with_two_ways_out() -> None:
    assert refused({"spam": 5, "ham": 9, "a": 2, "b": 1}, rare_count=3) == (
        "t.csv: 2 labels have fewer than 3 rows ('a' (2 rows), 'b' (1)): give more rows, leave them out with"
        " --data.rare_labels drop, or put them into one class with --data.rare_labels merge"
    )


def test_texts_in_the_place_of_labels_are_suspected() -> None:
    assert refused({f"text {number}": 1 for number in range(100)}, rare_count=3).endswith(
        "; or is --data.label_column another column?"
    )


def test_rare_labels_are_dropped_or_merged_on_request() -> None:
    counts = {"spam": 5, "ham": 9, "a": 2, "b": 1}
    dropped = settled(counts, rare="drop", rare_count=3)
    assert dropped.leaves == {"a": RARE_LABEL, "b": RARE_LABEL}
    assert dropped.labels == ("ham", "spam")
    assert dropped.warnings == ["2 labels have fewer than 3 rows ('a' (2 rows), 'b' (1)) and are left out"]
    merged = settled(counts, rare="merge", rare_count=3, rare_name="rest")
    assert merged.labels == ("ham", "rest", "spam")
    assert merged.becomes["a"] == merged.becomes["b"] == "rest"


def test_a_merged_class_that_is_still_rare_is_refused() -> None:
    assert refused({"spam": 5, "ham": 9, "a": 1}, rare="merge", rare_count=3) == (
        "t.csv: label 'a' has fewer than 3 rows (1), and 1 together as 'other': leave them out with --data.rare_labels"
        " drop, or give more rows"
    )


def test_given_splits_follow_what_is_decided_about_train() -> None:
    found = settle({"spam": 5, "ham": 9, "a": 1}, LabelRules(rare="drop", rare_count=2), given={"a": 7}, where="t.csv")
    assert found.leaves == {"a": RARE_LABEL}
    with pytest.raises(LabelError, match=r"'ham' \(9 rows\), 'Ham' \(2\): 2 spellings"):
        settle({"spam": 5, "ham": 9}, LabelRules(), given={"Ham": 2}, where="t.csv")


@pytest.mark.parametrize(
    ("counts", "words"),
    [({"spam": 5, " spam": 1}, "every message has the label 'spam'"), ({}, "no message is left")],
)
def test_one_label_is_not_enough(counts: dict[str, int], words: str) -> None:
    assert refused(counts) == f"t.csv: {words}: a classifier needs messages of at least two labels"


def test_the_same_classes_in_other_spellings_are_known() -> None:
    assert same_but_for_spelling(["0.0", "1.0"], ["0", "1"]) == {"0": "0.0", "1": "1.0"}
    assert same_but_for_spelling(["Spam", "ham"], ["spam", "ham"]) == {"spam": "Spam", "ham": "ham"}
    assert same_but_for_spelling(["spam", "ham"], ["spam", "eggs"]) == {}
    assert same_but_for_spelling(["1", "2"], ["1", "1.0"]) == {}


def test_an_option_is_written_as_a_shell_and_yaml_read_it() -> None:
    assert mapping_flag("data.labels", {"it's": ["a", "1"]}) == """--data.labels '{"it'"'"'s": [a, "1"]}'"""
