"""Words and their weights, with a probability that can be worked out by hand."""

import pytest

from lib.inference import explanation
from lib.inference.explanation import Explanation, WordWeight, explain


class Counted:
    """A probability that each word adds to; keeps what it was asked."""

    def __init__(self, **worth: float) -> None:
        self.worth = worth
        self.asked: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[float]:
        self.asked.append(texts)
        return [sum(self.worth.get(word, 0.0) for word in text.split()) for text in texts]


def test_a_word_weighs_what_the_probability_loses_without_it() -> None:
    probability = Counted(prize=0.5, you=0.25, lunch=-0.125)
    found = explain("prize for you\tat lunch", probability)
    assert [(each.word, each.weight) for each in found.words] == [
        ("prize", 0.5), ("for", 0.0), ("you", 0.25), ("at", 0.0), ("lunch", -0.125),
    ]  # fmt: skip
    assert found.not_weighed == 0


def test_the_whole_text_and_one_without_each_word_are_asked_at_once() -> None:
    probability = Counted()
    explain("  a bb, a\n", probability)
    assert probability.asked == [["  a bb, a\n", "  bb, a\n", "  a a\n", "  a bb,"]]


def test_a_single_word_has_nothing_to_be_compared_with() -> None:
    probability = Counted()
    assert explain(" prize! ", probability) == Explanation((), not_weighed=1)
    assert probability.asked == []


def test_only_so_many_words_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanation, "MOST_WORDS", 2)
    probability = Counted(b=0.5)
    assert explain("a b c b", probability) == Explanation((WordWeight("a", 0.0), WordWeight("b", 0.5)), not_weighed=2)
    assert [len(texts) for texts in probability.asked] == [3]
