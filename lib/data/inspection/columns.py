"""Says what the columns of a source hold, and which look like texts, labels and names of splits.

The rules, so that a person can follow and overrule them (all on the first rows, `ROWS`):
- A label column is called `label`, `category`, `stars` or the like. If none is: its values are short and come again and
  again, and of several such columns it is the one with the fewest different values.
- A text column is called `text`, `message`, `review` or the like, and its values are no numbers. If none is: of the
  columns that hold texts it is the one with the most words, and then the most characters.
- A column whose values are train, test and the like says to which split a row belongs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lib.data.messages.given import KNOWN
from lib.data.source.cells import Number
from lib.data.source.columns import ABSENT, Column, value_at

Role = Literal["text", "label", "split", "entry"]  # entry: a field of instructions

ROWS = 2_000  # looked at
TEXT_NAMES = ("text", "message", "sms", "review", "sentence", "tweet", "comment", "content", "body", "document")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "intent", "topic", "stars", "rating", "y")
LONGEST_LABEL = 40  # characters, on average
ROWS_A_LABEL = 5  # a column with more different values than one for so many rows holds no labels
LONGEST_NAME = 60  # characters of a column's name
EXAMPLES = 3
SHORT = 200  # characters of an example, more than any screen shows

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_SPLITS = {word: split for split, words in KNOWN.items() for word in words}


@dataclass(frozen=True)
class ColumnFacts:
    """What a column holds in the rows that were looked at.

    holds: texts, numbers, booleans, lists, objects, or nothing. distinct: how many different values. empty: rows with
    none. characters, words: of a value, on average. examples: the first different values.
    """

    name: Column
    holds: str
    distinct: int
    empty: int
    characters: float
    words: float
    examples: tuple[str, ...]
    role: Role | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the facts that a person asks for."""
        return {
            "name": self.name,
            "role": self.role,
            "holds": self.holds,
            "distinct": self.distinct,
            "empty": self.empty,
            "characters": round(self.characters, 1),
            "examples": list(self.examples),
        }


def describe(columns: Sequence[Column], records: Sequence[Mapping[Any, Any]]) -> list[ColumnFacts]:
    """Describes the columns of some rows; none has a role yet."""
    return [
        _facts(column, [value_at(record, column) if isinstance(column, str) else record[column] for record in records])
        for column in columns
    ]


def _facts(name: Column, values: Sequence[Any]) -> ColumnFacts:
    filled = [value for value in values if not _is_empty(value)]
    written = [value if isinstance(value, str) else str(value) for value in filled]
    kinds = dict.fromkeys(map(_kind, filled))
    texts = max(len(written), 1)
    return ColumnFacts(
        name=name,
        holds=" and ".join(kinds) or "nothing",
        distinct=len(set(written)),
        empty=len(values) - len(filled),
        characters=sum(map(len, written)) / texts,
        words=sum(len(each.split()) for each in written) / texts,
        examples=tuple(each[:SHORT] for each in list(dict.fromkeys(written))[:EXAMPLES]),
    )


def _is_empty(value: Any) -> bool:
    return value is None or value is ABSENT or value != value or (isinstance(value, str) and not value.strip())


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "booleans"
    if isinstance(value, Number | int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return "numbers"
    if isinstance(value, Mapping):
        return "objects"
    return "texts" if isinstance(value, str) else "lists"


def has_header(columns: Sequence[Column], facts: Sequence[ColumnFacts], values: Collection[Collection[str]]) -> bool:
    """Whether the first row has names and is no row: one is what texts or labels are called, or all are short,
    different, no numbers, and none is a value of its column too. values: of each column, those of the other rows."""
    names = [str(name) for name in columns if str(name).strip()]
    if not names or len(set(names)) < len(names) or len(facts) != len(values):
        return False
    known = {*TEXT_NAMES, *LABEL_NAMES}
    named = zip(columns, values, strict=True)
    if any(str(name).strip().casefold() in known and str(name) not in others for name, others in named):
        return True
    return all(
        len(str(name)) <= LONGEST_NAME and not _NUMBER.fullmatch(str(name)) and str(name) not in others
        for name, others in zip(columns, values, strict=True)
        if str(name).strip()
    )


@dataclass(frozen=True)
class Roles:
    """Which columns are which; None: no column looks like it. also: others that hold few values, perhaps labels."""

    text: Column | None
    label: Column | None
    split: Column | None
    also: tuple[Column, ...] = ()


def lists_of_labels(facts: Sequence[ColumnFacts]) -> Column | None:
    """Returns a column that is called as labels are, and has lists or objects."""
    lists = [each for each in facts if {"lists", "objects"} & set(each.holds.split(" and "))]
    return _first_named(lists, LABEL_NAMES)


def find_roles(
    facts: Sequence[ColumnFacts], rows: int, *, text: Column | None = None, label: Column | None = None
) -> Roles:
    """Tells by the rules above which columns hold what, in so many rows. text, label: those that somebody said."""
    split = next((each.name for each in facts if _says_splits(each)), None)
    open_ = [each for each in facts if str(each.name).strip() and each.name not in (text, label, split)]
    labels = [each for each in open_ if _may_be_labels(each, rows)]
    if label is None:
        label = _first_named(labels, LABEL_NAMES) or _fewest_values(labels)
    if text is None:
        texts = [each for each in open_ if each.name != label and "texts" in each.holds]
        text = _first_named(texts, TEXT_NAMES) or _most_words(texts)
    also = tuple(each.name for each in labels if each.name not in (text, label) and each.distinct > 1)
    return Roles(text, label, split, also)


def _says_splits(facts: ColumnFacts) -> bool:
    words = {_SPLITS.get(example.strip().casefold()) for example in facts.examples}
    return facts.distinct <= len(KNOWN) and None not in words and {"train"} < words


def _may_be_labels(facts: ColumnFacts, rows: int) -> bool:
    if not set(facts.holds.split(" and ")) <= {"texts", "numbers", "booleans"}:
        return False
    comes_again = 1 < facts.distinct <= max(2, rows / ROWS_A_LABEL)
    is_short = facts.characters <= LONGEST_LABEL and not _is_called(facts, TEXT_NAMES)
    return _is_called(facts, LABEL_NAMES) or (comes_again and is_short)


def _is_called(facts: ColumnFacts, names: Sequence[str]) -> bool:
    return isinstance(facts.name, str) and facts.name.strip().casefold().rpartition(".")[2] in names


def _first_named(facts: Sequence[ColumnFacts], names: Sequence[str]) -> Column | None:
    return next((each.name for name in names for each in facts if _is_called(each, [name])), None)


def _fewest_values(facts: Sequence[ColumnFacts]) -> Column | None:
    return min(facts, key=lambda each: each.distinct).name if facts else None


def _most_words(facts: Sequence[ColumnFacts]) -> Column | None:
    return max(facts, key=lambda each: (round(each.words), each.characters)).name if facts else None
