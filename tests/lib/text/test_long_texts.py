"""How long texts are read, by a tokenizer whose tokens are letters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest

from lib.errors import RecipeError
from lib.text.long_texts import CUT_END, LongTexts
from tests.support.characters import Characters

PLAIN = Characters()
LETTERS = "abcdefghijklmnopqrst"


@dataclass(frozen=True)
class Marked(Characters):
    """Has "<" before every text and "/>" behind it."""

    ending: str = "/>"
    begin: tuple[int, ...] = (ord("<"),)

    def encode(self, texts: object) -> list[list[int]]:
        return [[*self.begin, *tokens] for tokens in Characters.encode(self, texts)]  # type: ignore[arg-type]


def read(how: LongTexts, text: str, max_length: int, tokenizer: Characters = PLAIN) -> list[str]:
    """The rows of a text, in letters."""
    settled = how.settled(tokenizer, max_length)
    (tokens,) = tokenizer.encode([text])
    rows = settled.rows(tokens, tokenizer, max_length)
    return ["".join(map(chr, row)) for row in rows]


def windows(**fields: int) -> LongTexts:
    return LongTexts("windows", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        (CUT_END, ["abcdefgh"]),
        (LongTexts("head_and_tail", head_share=0.25), ["abopqrst"]),
        (LongTexts("head_and_tail", head_share=0.01), ["anopqrst"]),  # there is always something of both
        (LongTexts("head_and_tail", head_share=0.99), ["abcdefgt"]),
        (windows(overlap=0), ["abcdefgh", "ijklmnop", "mnopqrst"]),  # the last one ends with the text
        (windows(overlap=2), ["abcdefgh", "ghijklmn", "mnopqrst"]),
        (windows(), ["abcdefgh", "hijklmno", "mnopqrst"]),  # an eighth of 8
        (windows(overlap=2, most_windows=2), ["abcdefgh", "mnopqrst"]),
    ],
)
def test_a_long_text_is_read_as_its_recipe_says(how: LongTexts, rows: list[str]) -> None:
    assert read(how, LETTERS, 8) == rows
    assert read(how, "abcdefgh", 8) == ["abcdefgh"]


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        (LongTexts("head_and_tail", head_share=0.5), ["<abst/>"]),
        (windows(overlap=0), ["<abcd/>", "<efgh/>", "<ijkl/>", "<mnop/>", "<qrst/>"]),
        (windows(overlap=1, most_windows=3), ["<abcd/>", "<jklm/>", "<qrst/>"]),
    ],
)
def test_special_tokens_are_around_every_row(how: LongTexts, rows: list[str]) -> None:
    assert read(how, LETTERS, 7, Marked()) == rows


@pytest.mark.parametrize("how", [CUT_END, LongTexts("head_and_tail"), windows(), windows(overlap=3, most_windows=3)])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 100])
def test_unread_tokens_are_those_in_no_row(how: LongTexts, length: int) -> None:
    text = "".join(chr(1000 + place) for place in range(length))
    seen = set("".join(read(how, text, 8)))
    assert how.settled(PLAIN, 8).unread(length, PLAIN, 8) == length - len(seen)


def test_all_of_a_text_is_read_in_windows_that_share_at_least_the_overlap() -> None:
    for length in range(9, 60):
        text = "".join(chr(1000 + place) for place in range(length))
        rows = read(windows(overlap=3), text, 8)
        assert set("".join(rows)) == set(text)
        assert {len(row) for row in rows} == {8}
        assert min(len(set(one) & set(other)) for one, other in pairwise(rows)) >= 3


@pytest.mark.parametrize(
    ("how", "max_length", "least"),
    [(windows(overlap=8), 8, 9), (windows(), 3, 4), (LongTexts("head_and_tail"), 4, 5)],
)
def test_rows_without_room_are_refused(how: LongTexts, max_length: int, least: int) -> None:
    tokenizer = PLAIN if max_length == 8 else Marked()
    with pytest.raises(RecipeError, match=f"has no room for that: set encoding.max_length to {least} or more"):
        how.settled(tokenizer, max_length)
    how.settled(tokenizer, least)


def test_it_is_said_in_words() -> None:
    assert CUT_END.in_words(512) == "the first 512 tokens of a text"
    assert LongTexts("head_and_tail").in_words(512) == (
        "512 tokens of a text: of a longer one the beginning, 25% of them, and the end"
    )
    assert windows().settled(PLAIN, 512).in_words(512) == (
        "a text of more than 512 tokens in windows of as many, which share 64 with the one before, at most 32 of a"
        " text, and takes the mean of their logits"
    )
