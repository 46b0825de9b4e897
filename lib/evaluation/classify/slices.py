"""Measures a classifier on parts of the messages that may be harder: long ones, ones with links, ones in other scripts.

Whether a part is worse than the rest beyond chance is said by Fisher's exact test, with Holm's correction for all parts
that were looked at: among twenty parts one is significant at 0.05 by chance alone.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
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
LETTER, DIGIT = re.compile("[A-Za-z]"), re.compile("[0-9]")
NO_CAPITALS = bytes(code for code in range(128) if not chr(code).isupper())
NOT_LETTERS = bytes(code for code in range(128) if not chr(code).isalpha())
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


@dataclass(frozen=True)
class _Parts:
    """The part that each message is in (rows,), as a position in `values`; -1: in none."""

    what: str
    values: Sequence[str]
    of: NDArray[np.int32]
    of_column: bool = False


def slices(
    texts: Iterable[str],
    right: NDArray[np.bool_],
    *,
    columns: Mapping[str, Iterable[object]] | None = None,
    confidence: float = 0.95,
) -> list[Slice]:
    """Returns the parts with at least ten messages, in each of which `right` (rows,) says whether the label is right.

    texts: each is read once, and not kept. columns: more values of each message, by their column's name; of each column
    the 20 most frequent values are parts. A part that is all messages is left out.
    """
    measured = []
    for each in [*_by_text(texts), *(_column(name, values) for name, values in (columns or {}).items())]:
        counts = np.bincount(each.of[each.of >= 0], minlength=len(each.values))
        for place in _in_order(each, counts):
            if LEAST_ROWS <= counts[place] < len(right):
                measured.append((each, place, each.of == place))
    p_values = holm([_p_value(right, inside) for _, _, inside in measured])
    return [
        Slice(
            what=each.what,
            value=each.values[place],
            rows=int(inside.sum()),
            accuracy=float(right[inside].mean()),
            interval=wilson_interval(int(right[inside].sum()), int(inside.sum()), confidence),
            accuracy_of_rest=float(right[~inside].mean()),
            p_value=p_value,
            of_column=each.of_column,
        )
        for (each, place, inside), p_value in zip(measured, p_values, strict=True)
    ]


def _in_order(parts: _Parts, counts: NDArray[np.int64]) -> list[int]:
    """Returns quarters as they are, and other values the most frequent first; of the same number the first to occur."""
    if parts.values is QUARTERS:
        return list(range(len(QUARTERS)))
    order: list[int] = np.argsort(-counts, kind="stable").tolist()
    return order


def script_of(text: str) -> str:
    """Guesses how a text is written: the script of most of its letters; Han with any kana is Japanese."""
    if text.isascii():
        return SCRIPTS["LATIN"] if LETTER.search(text) else NO_LETTERS
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


def _by_text(texts: Iterable[str]) -> list[_Parts]:
    """Returns what is looked at in every text."""
    lengths, flags, scripts = array("q"), {name: array("i") for name in ("digits", "links", "capitals")}, _Values()
    for text in texts:
        lengths.append(len(text))
        flags["digits"].append(_has_digit(text))
        flags["links"].append(LINK.search(text) is not None)
        flags["capitals"].append(_shouts(text))
        scripts.add(script_of(text))
    sizes = np.array(lengths)
    edges = np.quantile(sizes, [0.25, 0.5, 0.75]) if len(sizes) else np.zeros(3)
    quarters = np.searchsorted(edges, sizes).astype(np.int32)
    return [
        _Parts(LENGTH, QUARTERS, quarters),
        *(_with(name, np.array(each, np.int32)) for name, each in flags.items()),
        scripts.parts("script"),
    ]


def _with(name: str, present: NDArray[np.int32]) -> _Parts:
    """Returns messages with and without something, in the order in which they first occur."""
    first = int(present[0]) if len(present) else 1
    values = ("with", "without") if first else ("without", "with")
    return _Parts(name, values, np.where(present == first, 0, 1).astype(np.int32))


def _has_digit(text: str) -> bool:
    return DIGIT.search(text) is not None if text.isascii() else any(char.isdigit() for char in text)


def _shouts(text: str) -> bool:
    if text.isascii():
        data = text.encode()
        letters, capitals = len(data.translate(None, NOT_LETTERS)), len(data.translate(None, NO_CAPITALS))
    else:
        found = [char for char in text if char.isalpha()]
        letters, capitals = len(found), sum(map(str.isupper, found))
    return letters >= LETTERS_TO_SHOUT and capitals >= CAPITALS * letters


class _Values:
    """The value of each message, as a position among the values in the order in which they first occur."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._of = array("i")

    def add(self, value: str | None) -> None:
        """Adds a message; None: it has no value."""
        self._of.append(-1 if value is None else self._places.setdefault(value, len(self._places)))

    def parts(self, what: str, *, of_column: bool = False) -> _Parts:
        """Returns the parts that the values make."""
        return _Parts(what, tuple(self._places), np.array(self._of, np.int32), of_column)


def _column(name: str, values: Iterable[object]) -> _Parts:
    """Returns a column's most frequent values, without what is missing."""
    found = _Values()
    for value in values:
        found.add(None if value is None or value != value else str(value))
    every = found.parts(name, of_column=True)
    counts = np.bincount(every.of[every.of >= 0], minlength=len(every.values))
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_VALUES])
    place = np.full(len(every.values) + 1, -1, np.int32)  # the last one is that of -1, no value
    place[kept] = np.arange(len(kept))
    return _Parts(name, tuple(every.values[each] for each in kept), place[every.of], of_column=True)


def _p_value(right: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    from scipy.stats import fisher_exact  # here, because runs with a cached evaluation read slices and compute none

    hits, rest = right[inside], right[~inside]
    table = [[int(hits.sum()), int((~hits).sum())], [int(rest.sum()), int((~rest).sum())]]
    return float(fisher_exact(table).pvalue)
