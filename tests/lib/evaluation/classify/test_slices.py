"""Parts of messages with known mistakes."""

import numpy as np
import pytest
from scipy import stats

from lib.evaluation.classify.slices import NO_LETTERS, QUARTERS, SCRIPTS, Slice, script_of, slices
from lib.evaluation.significance import wilson_interval

PLAIN = ["see you at lunch", "are you home", "ok", "I will be a little late, sorry", "call me when you can"]


def by_name(found: list[Slice]) -> dict[tuple[str, str], Slice]:
    return {(each.what, each.value): each for each in found}


def test_a_part_that_is_worse_is_found_and_told_from_chance() -> None:
    texts = [f"{text} {mark}" for text in PLAIN for mark in ("", "now", "then", "today", "www.shop.example") * 4]
    with_link = np.array(["www" in text for text in texts])
    right = ~with_link | (np.arange(100) % 2 == 0)  # half of those with a link are wrong
    found = by_name(slices(texts, right))
    part = found["links", "with"]
    assert (part.rows, part.accuracy, part.accuracy_of_rest) == (20, 0.5, 1.0)
    assert part.interval == wilson_interval(10, 20, 0.95)
    alone = stats.fisher_exact([[10, 10], [80, 0]]).pvalue
    assert part.p_value == pytest.approx(len(found) * alone)  # Holm: the smallest of all, so all of them count
    assert found["links", "without"].p_value == part.p_value
    assert found["length", QUARTERS[0]].p_value > 0.05


def test_what_is_looked_at() -> None:
    texts = ["call 0800", "CALL ME NOW", "https://a.example/b", "hello there", "привет всем"] * 10
    found = by_name(
        slices(texts, np.ones(50, bool), columns={"source": ["app", "web", None, "app", float("nan")] * 10})
    )
    rows = {name: part.rows for name, part in found.items() if name[0] != "length"}
    assert rows == {
        ("digits", "without"): 40, ("digits", "with"): 10,
        ("links", "without"): 40, ("links", "with"): 10,
        ("capitals", "without"): 40, ("capitals", "with"): 10,
        ("script", "Latin"): 40, ("script", "Cyrillic"): 10,
        ("source", "app"): 20, ("source", "web"): 10,
    }  # fmt: skip
    assert {part.p_value for part in found.values()} == {1.0}


def test_few_messages_and_all_messages_are_no_part() -> None:
    texts = ["one two"] * 30 + ["call 0800"] * 9
    found = [(each.what, each.value) for each in slices(texts, np.ones(39, bool))]
    assert found == [("length", QUARTERS[0]), ("digits", "without")]
    assert slices([], np.zeros(0, bool)) == []


def test_a_column_with_the_name_of_something_that_is_looked_at_stands_beside_it() -> None:
    texts = ["one", "one two", "one two three", "one two three four"] * 10
    columns = {"length": ["short", "long"] * 20, "links": ["none"] * 10 + ["some"] * 30}
    found = slices(texts, np.ones(40, bool), columns=columns)
    told = [(each.what, each.value, each.of_column) for each in found]
    assert told == [
        *(("length", quarter, False) for quarter in QUARTERS),
        ("length", "short", True), ("length", "long", True),
        ("links", "some", True), ("links", "none", True),
    ]  # fmt: skip


def test_of_a_column_the_most_frequent_values_are_parts() -> None:
    values = [f"value {number}" for number in range(30) for _ in range(10 + number)]
    found = slices(["text"] * len(values), np.ones(len(values), bool), columns={"source": values})
    assert [each.value for each in found if each.what == "source"] == [f"value {number}" for number in range(29, 9, -1)]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Straße, naïve", "Latin"), ("Привет, iPhone здесь", "Cyrillic"), ("مرحبا", "Arabic"),
        ("你好世界", SCRIPTS["CJK"]),
        ("漢字とかな", SCRIPTS["HIRAGANA"]), ("안녕하세요", SCRIPTS["HANGUL"]), ("ＷＩＮ", "Latin"),
        ("12:30 !!", NO_LETTERS),
        ("ᏣᎳᎩ", "another script"),
    ],
)  # fmt: skip
def test_scripts(text: str, script: str) -> None:
    assert script_of(text) == script
