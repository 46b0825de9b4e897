"""People's own words on Markdown pages."""

from __future__ import annotations

import pytest

from lib.markdown import bullets, code, plain, table


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("R&D <b>x</b>", r"R&amp;D \<b\>x\</b\>"),
        ("a|b\n\nc", r"a\|b c"),
        ("--data.empty_label drop", "--data.empty_label drop"),
        ("_x_ and *y* and `z`", r"\_x\_ and \*y\* and \`z\`"),
        ("[a](b) \\ ~c~ #1", r"\[a\](b) \\ \~c\~ \#1"),
    ],
)
def test_text_is_shown_as_it_stands(text: str, escaped: str) -> None:
    assert plain(text) == escaped


@pytest.mark.parametrize(("text", "span"), [("spam", "`spam`"), ("a`b", "``a`b``"), ("`x", "`` `x ``")])
def test_backticks_do_not_end_a_code_span(text: str, span: str) -> None:
    assert code(text) == span


def test_a_long_list_ends_with_the_number_of_others() -> None:
    assert bullets([f"point {number}" for number in range(15)]).splitlines()[-2:] == ["- point 11", "- and 3 more"]


def test_the_columns_of_a_table_stay_apart_where_a_page_has_no_styles() -> None:
    assert table(("", "a", "b"), [("x", "1", "2")], numbers=True) == [
        "| &emsp; | a&emsp; | b |",
        "|---|---:|---:|",
        "| x&emsp; | 1&emsp; | 2 |",
    ]
