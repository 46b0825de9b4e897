"""Which words of a text weighed most in its answer: occlusion, leaving each word out in turn.

    M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, who hid parts of
    pictures; for words e.g. J. Li, W. Monroe and D. Jurafsky, "Understanding neural networks through representation
    erasure", arXiv:1612.08220.

Here belong the words and their weights. How a text gets its probability, and how weights are shown, is not known here.
The weights say what this classifier did with this text, not what a word means to it: of two words that say the same
neither may weigh much, because the other one is still there, and a text with a hole in it is unlike those of the
training.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_WORDS = 100  # that are weighed: each is one more text to classify
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class WordWeight:
    """A word as it stands in the text, and by how much the probability falls without it: from -1 to 1."""

    word: str
    weight: float


@dataclass(frozen=True)
class Explanation:
    """The words of a text in their order, each with its weight.

    words: the first `MOST_WORDS`; none where the text has one word only, because nothing is left without it.
    not_weighed: how many words more the text has.
    """

    words: tuple[WordWeight, ...]
    not_weighed: int


def explain(text: str, probability: Callable[[list[str]], Sequence[float]]) -> Explanation:
    """The weight of each word of `text`.

    `probability` tells how probable the label in question is for each text of a list; it is called once, with `text`
    itself and then one text for each word, at most 1 + `MOST_WORDS`.
    """
    words = list(WORD.finditer(text))
    weighed = words[:MOST_WORDS] if len(words) > 1 else []
    if not weighed:
        return Explanation((), not_weighed=len(words))
    whole, *without = probability([text, *(_without(text, word) for word in weighed)])
    weights = (WordWeight(word[0], whole - rest) for word, rest in zip(weighed, without, strict=True))
    return Explanation(tuple(weights), not_weighed=len(words) - len(weighed))


def _without(text: str, word: re.Match[str]) -> str:
    """The text without a word and without the space behind it, or before it where it is the last one."""
    rest = text[word.end() :].lstrip()
    return text[: word.start()] + rest if rest else text[: word.start()].rstrip()
