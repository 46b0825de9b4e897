"""What an inspection counts, by hand with a tokenizer that can be read by eye, and with real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import MessagesError
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.inspection import SplitWord, inspect_texts
from lib.text.tokenizer import load_tokenizer
from tests.support.characters import Characters
from tests.support.tiny_tokenizers import byte_pair, wordpiece


def test_counts_by_hand() -> None:
    found = inspect_texts(["ab a", "ab c!", "abcd"], Characters(ending="]", unknown=ord("!")), max_length=5, most=2)
    assert found.tokenizer == "characters"
    assert found.texts == 3
    assert found.tokens == {"median": 5.0, "p95": 5.9, "longest": 6}  # with the one behind each
    assert found.characters_per_token == 1
    assert found.unknown == pytest.approx(1 / 13)
    assert found.split == pytest.approx(3 / 5)
    assert found.most_split == (SplitWord("abcd", 4, 1), SplitWord("ab", 2, 2))  # 3 pieces more, 2 pieces more
    assert found.cut == 1
    assert inspect_texts(["ab"], Characters()).cut is None


def test_a_word_is_whole_where_the_space_before_it_belongs_to_its_token() -> None:
    found = inspect_texts(["hello world hello there", "hello Hopparcel"], gpt2_tokenizer())
    assert found.most_split == (SplitWord("Hopparcel", 4, 1),)
    assert found.split == pytest.approx(1 / 6)
    assert found.unknown == 0


def test_letters_of_several_bytes_and_what_cannot_be_written(tmp_path: Path) -> None:
    assert inspect_texts(["日本 é"], load_tokenizer(byte_pair(tmp_path / "bytes"))).most_split[0].word == "日本"
    pieces = load_tokenizer(wordpiece(tmp_path / "pieces"))
    found = inspect_texts(["win 日本 now"], pieces)
    assert found.unknown == pytest.approx(2 / len(pieces.spans("win 日本 now")))  # one for each letter of Chinese


def test_no_texts_are_refused() -> None:
    with pytest.raises(MessagesError, match="there are no texts to inspect"):
        inspect_texts([], gpt2_tokenizer())
