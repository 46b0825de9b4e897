"""Weighs each word of a text by occlusion: how far the log-odds of its label fall without it.

M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, for images; J. Li, W.
Monroe and D. Jurafsky, "Understanding neural networks through representation erasure", arXiv:1612.08220, for words. The
weights hold for this text only: of two words that say the same neither may weigh much, because the other remains, and a
text with a gap is unlike those of the training.

Log-odds, log(p / (1 - p)), are what a classifier adds up before it turns sums into probabilities: where the logits are
sums over words, a word's weight is its summand, wherever the text stands. Differences of probabilities shrink towards 0
and 1 instead. Beyond `FLOOR` log-odds tell no more than how far a network overshoots, so probabilities count as at
least that far from 0 and 1: of a text at 99.9 % no word weighs against the label, because nothing can raise it.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_WORDS = 100  # weighed: each is one more text to classify
FLOOR = 0.001  # probabilities count as at least this far from 0 and from 1
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class WordWeight:
    """A word as written, and by how much the log-odds fall without it: at most twice log(999) = 6.9 up or down."""

    word: str
    weight: float


@dataclass(frozen=True)
class Explanation:
    """The weighted words of a text, in order.

    words: the first `MOST_WORDS`; none if the text has only one word, because nothing is left without it.
    not_weighed: how many words follow those. saturated: whether the probability of the whole text is beyond the floor,
    so that only words without which it comes back weigh anything.
    """

    words: tuple[WordWeight, ...]
    not_weighed: int
    saturated: bool = False


def explain(text: str, probability: Callable[[list[str]], Sequence[float]]) -> Explanation:
    """Weighs each word of `text`. `probability` returns the probability of the label in question for each text of a
    list; it is called once, with `text` and one text without each word, at most 1 + `MOST_WORDS`."""
    words = list(WORD.finditer(text))
    weighed = words[:MOST_WORDS] if len(words) > 1 else []
    if not weighed:
        return Explanation((), not_weighed=len(words))
    whole, *without = probability([text, *(_without(text, word) for word in weighed)])
    top = log_odds(whole)
    weights = (WordWeight(word[0], top - log_odds(rest)) for word, rest in zip(weighed, without, strict=True))
    return Explanation(tuple(weights), not_weighed=len(words) - len(weighed), saturated=not FLOOR < whole < 1 - FLOOR)


def log_odds(probability: float) -> float:
    """Returns log(p / (1 - p)), with p at least `FLOOR` away from 0 and from 1."""
    within = min(max(probability, FLOOR), 1 - FLOOR)
    return math.log(within) - math.log1p(-within)


def _without(text: str, word: re.Match[str]) -> str:
    """Returns the text without a word and the space after it (before it, for the last word)."""
    rest = text[word.end() :].lstrip()
    return text[: word.start()] + rest if rest else text[: word.start()].rstrip()
