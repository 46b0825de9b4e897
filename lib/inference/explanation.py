"""Weighs each word of a text by occlusion: how far the probability falls without it.

M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, for images; J. Li, W.
Monroe and D. Jurafsky, "Understanding neural networks through representation erasure", arXiv:1612.08220, for words. The
weights hold for this text only: of two words that say the same neither may weigh much, because the other remains, and a
text with a gap is unlike those of the training.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_WORDS = 100  # weighed: each is one more text to classify
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class WordWeight:
    """A word as written, and by how much the probability falls without it, from -1 to 1."""

    word: str
    weight: float


@dataclass(frozen=True)
class Explanation:
    """The weighted words of a text, in order.

    words: the first `MOST_WORDS`; none if the text has only one word, because nothing is left without it.
    not_weighed: how many words follow those.
    """

    words: tuple[WordWeight, ...]
    not_weighed: int


def explain(text: str, probability: Callable[[list[str]], Sequence[float]]) -> Explanation:
    """Weighs each word of `text`. `probability` returns the probability of the label in question for each text of a
    list; it is called once, with `text` and one text without each word, at most 1 + `MOST_WORDS`."""
    words = list(WORD.finditer(text))
    weighed = words[:MOST_WORDS] if len(words) > 1 else []
    if not weighed:
        return Explanation((), not_weighed=len(words))
    whole, *without = probability([text, *(_without(text, word) for word in weighed)])
    weights = (WordWeight(word[0], whole - rest) for word, rest in zip(weighed, without, strict=True))
    return Explanation(tuple(weights), not_weighed=len(words) - len(weighed))


def _without(text: str, word: re.Match[str]) -> str:
    """Returns the text without a word and the space after it (before it, for the last word)."""
    rest = text[word.end() :].lstrip()
    return text[: word.start()] + rest if rest else text[: word.start()].rstrip()
