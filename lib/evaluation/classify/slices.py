"""Measures a classifier on parts of the messages that may be harder: long ones, ones with links, ones in other scripts.

Whether a part is worse than the rest beyond chance is said by Fisher's exact test, with Holm's correction for all parts
that were looked at: among twenty parts one is significant at 0.05 by chance alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.significance import holm, wilson_interval

LEAST_ROWS = 10  # of a part: fewer say nothing
MOST_VALUES = 20  # of a column: the most frequent ones
LENGTH = "length"
QUARTERS = ("shortest quarter", "second quarter", "third quarter", "longest quarter")
LINK = re.compile(r"https?://|\bwww\.|\b[\w-]+\.(?:com|org|net|io|info|biz|co\.uk|de|fr)\b", re.IGNORECASE)
CAPITALS = 0.5  # share of a text's letters that are capitals, from which it shouts
LETTERS_TO_SHOUT = 5  # a text with fewer letters does not
LETTERS_LOOKED_AT = 200  # of a text, for its script
# How the names of Unicode's letters begin, and what is written with them: a guess, without a model of languages.
SCRIPTS = {
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "ARABIC": "Arabic",
    "HEBREW": "Hebrew",
    "DEVANAGARI": "Devanagari (Hindi and others)",
    "BENGALI": "Bengali",
    "TAMIL": "Tamil",
    "THAI": "Thai",
    "HANGUL": "Hangul (Korean)",
    "HIRAGANA": "Kana (Japanese)",
    "KATAKANA": "Kana (Japanese)",
    "CJK": "Han (Chinese)",
}
NO_LETTERS, OTHER_SCRIPT = "no letters", "another script"
KANA = SCRIPTS["HIRAGANA"]


@dataclass(frozen=True)
class Slice:
    """A part of the messages.

    what, value: how it was made: `links` and `with`, say. of_column: whether `what` is a column of the source, which
    may have the name of something that is looked at in every text. accuracy_of_rest: that of all other messages.
    p_value: of Fisher's exact test, two-sided, that both are equally accurate, after Holm's correction over all slices.
    """

    what: str
    value: str
    rows: int
    accuracy: float
    interval: tuple[float, float]
    accuracy_of_rest: float
    p_value: float
    of_column: bool = False


def slices(
    texts: Sequence[str],
    right: NDArray[np.bool_],
    *,
    columns: Mapping[str, Iterable[object]] | None = None,
    confidence: float = 0.95,
) -> list[Slice]:
    """Returns the parts with at least ten messages, in each of which `right` (rows,) says whether the label is right.

    columns: more values of each message, by their column's name; of each column the 20 most frequent values are parts.
    A part that is all messages is left out.
    """
    measured = []
    parts: list[tuple[str, Sequence[str | None], bool]] = [(what, each, False) for what, each in _by_text(texts)]
    parts += [(name, _column(each), True) for name, each in (columns or {}).items()]
    for what, values, of_column in parts:
        counts = Counter(each for each in values if each is not None)
        quarters = what == LENGTH and not of_column
        for value in [each for each in QUARTERS if each in counts] if quarters else dict(counts.most_common()):
            inside = np.fromiter((each == value for each in values), bool, count=len(texts))
            if LEAST_ROWS <= inside.sum() < len(texts):
                measured.append((what, value, inside, of_column))
    p_values = holm([_p_value(right, inside) for _, _, inside, _ in measured])
    return [
        Slice(
            what=what,
            value=value,
            rows=int(inside.sum()),
            accuracy=float(right[inside].mean()),
            interval=wilson_interval(int(right[inside].sum()), int(inside.sum()), confidence),
            accuracy_of_rest=float(right[~inside].mean()),
            p_value=p_value,
            of_column=of_column,
        )
        for (what, value, inside, of_column), p_value in zip(measured, p_values, strict=True)
    ]


def script_of(text: str) -> str:
    """Guesses how a text is written: the script of most of its letters; Han with any kana is Japanese."""
    letters = [char for char in text if char.isalpha()][:LETTERS_LOOKED_AT]
    if not letters:
        return NO_LETTERS
    counts = Counter(_script(char) for char in letters)
    most = counts.most_common(1)[0][0]
    return KANA if most == SCRIPTS["CJK"] and counts[KANA] else most


@cache
def _script(char: str) -> str:
    name = unicodedata.name(char, "").replace("FULLWIDTH ", "").replace("HALFWIDTH ", "")
    return SCRIPTS.get(re.split(r"[ -]", name)[0], OTHER_SCRIPT)


def _by_text(texts: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns what is looked at, each with the part that each text is in."""
    lengths = np.array([len(text) for text in texts])
    edges = np.quantile(lengths, [0.25, 0.5, 0.75]) if len(texts) else np.zeros(3)
    return [
        (LENGTH, [QUARTERS[place] for place in np.searchsorted(edges, lengths).tolist()]),
        ("digits", [_with(any(char.isdigit() for char in text)) for text in texts]),
        ("links", [_with(LINK.search(text) is not None) for text in texts]),
        ("capitals", [_with(_shouts(text)) for text in texts]),
        ("script", [script_of(text) for text in texts]),
    ]


def _with(present: bool) -> str:
    return "with" if present else "without"


def _shouts(text: str) -> bool:
    letters = [char for char in text if char.isalpha()]
    return len(letters) >= LETTERS_TO_SHOUT and sum(map(str.isupper, letters)) >= CAPITALS * len(letters)


def _column(values: Iterable[object]) -> list[str | None]:
    """Returns a column's values as text, None for those that are not among the most frequent, or missing."""
    written = [None if value is None or value != value else str(value) for value in values]
    frequent = {value for value, _ in Counter(each for each in written if each is not None).most_common(MOST_VALUES)}
    return [value if value in frequent else None for value in written]


def _p_value(right: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    from scipy.stats import fisher_exact  # here, because runs with a cached evaluation read slices and compute none

    hits, rest = right[inside], right[~inside]
    table = [[int(hits.sum()), int((~hits).sum())], [int(rest.sum()), int((~rest).sum())]]
    return float(fisher_exact(table).pvalue)
