"""Words and their weights, with logits that can be added up by hand."""

import math

import numpy as np
import pytest

from lib.inference import explanation
from lib.inference.explanation import FLOOR, Explanation, WordWeight, explain, log_odds


class Additive:
    """A classifier of two labels whose logit is a sum over words, as it computes it: in float32, by softmax. Keeps what
    it was asked."""

    def __init__(self, bias: float = 0.0, **worth: float) -> None:
        self.bias, self.worth = bias, worth
        self.asked: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[float]:
        self.asked.append(texts)
        logits = np.array(
            [[0.0, self.bias + sum(self.worth.get(word, 0.0) for word in text.split())] for text in texts], np.float32
        )
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return [float(row[1] / row.sum()) for row in powers]


def weights(found: Explanation) -> dict[str, float]:
    return {each.word: each.weight for each in found.words}


@pytest.mark.parametrize("bias", [-3.0, 0.0, 4.0])
def test_a_word_weighs_what_it_adds_to_the_logit_wherever_the_text_stands(bias: float) -> None:
    found = explain("prize for you\tat lunch", Additive(bias, prize=1.5, you=0.25, lunch=-0.75))
    right = {"prize": 1.5, "for": 0.0, "you": 0.25, "at": 0.0, "lunch": -0.75}
    assert weights(found) == pytest.approx(right, abs=1e-4)
    assert found.not_weighed == 0
    assert not found.saturated


def test_of_a_text_that_is_sure_no_word_weighs_against_it() -> None:
    """At 99.9 % the last digits of the probabilities say nothing: here "prize" lowers them a little."""
    found = explain("win a prize", Additive(7.0, win=3.0, prize=-0.2))
    assert found.saturated
    assert weights(found) == {"win": pytest.approx(log_odds(1 - FLOOR) - 6.8, abs=1e-3), "a": 0.0, "prize": 0.0}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_probability_of_one_or_zero_is_no_infinite_weight(sign: int) -> None:
    found = explain("win now", Additive(win=sign * 200.0))
    assert found.saturated
    assert weights(found) == {"win": pytest.approx(sign * math.log((1 - FLOOR) / FLOOR)), "now": 0.0}


def test_the_whole_text_and_one_without_each_word_are_asked_at_once() -> None:
    probability = Additive()
    explain("  a bb, a\n", probability)
    assert probability.asked == [["  a bb, a\n", "  bb, a\n", "  a a\n", "  a bb,"]]


def test_a_single_word_has_nothing_to_be_compared_with() -> None:
    probability = Additive()
    assert explain(" prize! ", probability) == Explanation((), not_weighed=1)
    assert probability.asked == []


def test_only_so_many_words_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanation, "MOST_WORDS", 2)
    probability = Additive(b=0.0)
    assert explain("a b c b", probability) == Explanation((WordWeight("a", 0.0), WordWeight("b", 0.0)), not_weighed=2)
    assert [len(texts) for texts in probability.asked] == [3]
