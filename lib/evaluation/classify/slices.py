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
from typing import NamedTuple

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


class _Counts:
    """How many messages have each value, and how many of these are right; values in the order in which they occur."""

    def __init__(self) -> None:
        self.by_value: dict[str, list[int]] = {}

    def add(self, value: str, right: bool) -> None:
        """Adds a message."""
        counts = self.by_value.setdefault(value, [0, 0])
        counts[0] += 1
        counts[1] += right

    def most_frequent_first(self) -> list[tuple[str, int, int]]:
        """Returns values, messages and right ones; of as many the first to occur."""
        counted = [(value, rows, hits) for value, (rows, hits) in self.by_value.items()]
        return sorted(counted, key=lambda each: -each[1])


def slices(
    texts: Iterable[str],
    right: NDArray[np.bool_] | Iterable[bool],
    *,
    columns: Mapping[str, Iterable[object]] | None = None,
    confidence: float = 0.95,
) -> list[Slice]:
    """Returns the parts with at least ten messages, in each of which `right` (rows,) says whether the label is right.

    texts: each is read once, and not kept. columns: more values of each message, by their column's name; of each column
    the 20 most frequent values are parts. A part that is all messages is left out.
    """
    every, right_ones, found = _counted(texts, right, columns or {})
    kept = [part for part in found if LEAST_ROWS <= part.rows < every]
    p_values = holm([_p_value(part.hits, part.rows, right_ones, every) for part in kept])
    return [
        Slice(
            what=part.what,
            value=part.value,
            rows=part.rows,
            accuracy=part.hits / part.rows,
            interval=wilson_interval(part.hits, part.rows, confidence),
            accuracy_of_rest=(right_ones - part.hits) / (every - part.rows),
            p_value=p_value,
            of_column=part.of_column,
        )
        for part, p_value in zip(kept, p_values, strict=True)
    ]


class _Part(NamedTuple):
    """Messages with a value, and how many of them are right."""

    what: str
    value: str
    rows: int
    hits: int
    of_column: bool = False


def _counted(
    texts: Iterable[str], right: NDArray[np.bool_] | Iterable[bool], columns: Mapping[str, Iterable[object]]
) -> tuple[int, int, list[_Part]]:
    """Counts all messages, the right ones, and those of each part."""
    every = right_ones = 0
    lengths: dict[int, list[int]] = {}
    looked_at = {name: _Counts() for name in ("digits", "links", "capitals", "script")}
    of_columns = {name: _Counts() for name in columns}
    values = {name: iter(each) for name, each in columns.items()}
    for text, is_right in zip(texts, right, strict=True):
        every += 1
        right_ones += bool(is_right)
        counts = lengths.setdefault(len(text), [0, 0])
        counts[0] += 1
        counts[1] += bool(is_right)
        for name, value in (
            ("digits", _with(_has_digit(text))),
            ("links", _with(LINK.search(text) is not None)),
            ("capitals", _with(_shouts(text))),
            ("script", script_of(text)),
        ):
            looked_at[name].add(value, bool(is_right))
        for name, rest in values.items():
            value_there = next(rest)
            if value_there is not None and value_there == value_there:  # not missing
                of_columns[name].add(str(value_there), bool(is_right))
    found = _quarters(lengths)
    for name, each in looked_at.items():
        found += [_Part(name, *counted) for counted in each.most_frequent_first()]
    for name, each in of_columns.items():
        found += [_Part(name, *counted, of_column=True) for counted in each.most_frequent_first()[:MOST_VALUES]]
    return every, right_ones, found


def _quarters(lengths: Mapping[int, Sequence[int]]) -> list[_Part]:
    """Returns the quarters of messages with as many of each length, and as many right ones."""
    ordered = sorted(lengths)
    rows, hits = (np.array([lengths[length][kind] for length in ordered], np.int64) for kind in (0, 1))
    quarter = np.searchsorted(_quartiles(np.array(ordered, np.int64), rows), ordered)
    return [
        _Part(LENGTH, name, int(rows[quarter == number].sum()), int(hits[quarter == number].sum()))
        for number, name in enumerate(QUARTERS)
    ]


def _quartiles(ordered: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the three quartiles of ascending numbers that occur so often, halfway as NumPy's are."""
    behind = np.cumsum(rows)
    if not len(rows):
        return np.zeros(3)
    places = np.array([0.25, 0.5, 0.75]) * (behind[-1] - 1)
    low, high = (ordered[np.searchsorted(behind, at, "right")] for at in (np.floor(places), np.ceil(places)))
    return np.asarray(low + (places - np.floor(places)) * (high - low))


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


def _with(present: bool) -> str:
    return "with" if present else "without"


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


def _p_value(hits: int, rows: int, all_hits: int, all_rows: int) -> float:
    from scipy.stats import fisher_exact  # here, because runs with a cached evaluation read slices and compute none

    rest = all_hits - hits
    return float(fisher_exact([[hits, rows - hits], [rest, all_rows - rows - rest]]).pvalue)
