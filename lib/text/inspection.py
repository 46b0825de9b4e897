"""Says how a tokenizer fits texts: how many tokens they need, what it cannot write, which words it takes apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lib.errors import MessagesError
from lib.text.tokens import spread

if TYPE_CHECKING:
    from lib.text.tokenizer import Tokenizer

WORD = re.compile(r"\w+")  # letters, digits and underscores


@dataclass(frozen=True)
class SplitWord:
    """A word as written, the most pieces that it was taken apart into, and how often it was taken apart."""

    word: str
    pieces: int
    times: int


@dataclass(frozen=True)
class Inspection:
    """What a tokenizer makes of texts.

    tokenizer: its name. texts: how many.
    tokens: of a text, special ones included: `median`, `p95` (the 95th percentile) and `longest`.
    characters_per_token: of all texts, without special tokens.
    unknown: the share of tokens that stand for what the vocabulary cannot write.
    split: the share of words that have several tokens.
    most_split: the words that cost most, by their pieces beyond the first in all texts.
    cut: texts with more than `max_length` tokens; None without a `max_length`.
    """

    tokenizer: str
    texts: int
    tokens: dict[str, float | int]
    characters_per_token: float
    unknown: float
    split: float
    most_split: tuple[SplitWord, ...]
    cut: int | None


class Lengths(NamedTuple):
    """How long texts are.

    tokens: `median`, `p95` and `longest` of a text, special ones included. longer: for some numbers of tokens, how many
    texts have more.
    """

    tokenizer: str
    texts: int
    tokens: dict[str, float | int]
    longer: dict[int, int]


def token_lengths(texts: Sequence[str], tokenizer: Tokenizer, limits: Sequence[int]) -> Lengths:
    """Counts the tokens of at least one text."""
    lengths = [len(tokens) for tokens in tokenizer.encode(texts)]
    longer = {limit: sum(length > limit for length in lengths) for limit in limits}
    return Lengths(tokenizer.name, len(texts), spread(lengths), longer)


def inspect_texts(
    texts: Sequence[str], tokenizer: Tokenizer, *, max_length: int | None = None, most: int = 5
) -> Inspection:
    """Tokenizes every text and counts; `most`: how many of the words that are taken apart are named.

    Raises MessagesError if there are no texts.
    """
    if not texts:
        raise MessagesError("there are no texts to inspect: is it the right file?")
    lengths = [len(tokens) for tokens in tokenizer.encode(texts)]
    tokens, unknown, words = 0, 0, 0
    times: Counter[str] = Counter()
    extra: Counter[str] = Counter()  # pieces beyond the first
    pieces: dict[str, int] = {}
    for text in texts:
        spans = tokenizer.spans(text)
        tokens += len(spans)
        unknown += sum(token == tokenizer.unknown for token, _, _ in spans)
        for word, count in _pieces(text, spans):
            words += 1
            if count > 1:
                times[word] += 1
                extra[word] += count - 1
                pieces[word] = max(count, pieces.get(word, 0))
    costly = sorted(extra, key=lambda word: (-extra[word], word))[:most]
    return Inspection(
        tokenizer=tokenizer.name,
        texts=len(texts),
        tokens=spread(lengths),
        characters_per_token=sum(map(len, texts)) / max(tokens, 1),
        unknown=unknown / max(tokens, 1),
        split=times.total() / max(words, 1),
        most_split=tuple(SplitWord(word, pieces[word], times[word]) for word in costly),
        cut=None if max_length is None else sum(length > max_length for length in lengths),
    )


def _pieces(text: str, spans: Sequence[tuple[int, int, int]]) -> Iterator[tuple[str, int]]:
    """Yields each word with the number of tokens that have a character of it."""
    first = 0
    for word in WORD.finditer(text):
        begin, end = word.span()
        while first < len(spans) and spans[first][2] <= begin:
            first += 1
        last = first
        while last < len(spans) and spans[last][1] < end:
            last += 1
        yield word[0], last - first
