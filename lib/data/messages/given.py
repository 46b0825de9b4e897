"""Tells by a column of the source which split a row belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib.data.messages.labels import mapping_flag, trimmed, with_counts
from lib.data.tables import SPLITS
from lib.errors import MessagesError

UNNAMED_SPLIT = "split not in split.names"  # why a row is left out

KNOWN = {  # what people call them, in any case
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "development"),
    "test": ("test", "testing"),
}


def splits_by_value(
    counts: Mapping[str, int], names: Mapping[str, Sequence[str]] | None, *, where: str
) -> dict[str, str]:
    """Returns the split of each value of the column; rows with other values are left out.

    counts: rows by value, as written. names: what the splits are called, by split (None: the `KNOWN` words, and other
    values are refused); a split that is not among them is called by those words. `where` is what errors call the
    source.

    Raises MessagesError if no row is of train, nothing is of another split, or a value is not known.
    """
    called = {word: split for split in SPLITS for word in KNOWN[split] if split not in (names or {})}
    exactly = {trimmed(word): split for split, words in (names or {}).items() for word in words}
    split_of: dict[str, str] = {}
    for value in counts:
        split = exactly.get(trimmed(value)) or called.get(trimmed(value).casefold())
        if split is not None:
            split_of[value] = split
    unknown = {value: count for value, count in counts.items() if value not in split_of}
    if unknown and names is None:
        raise MessagesError(
            f"{where}: the column of split.column says {with_counts(unknown)}, which is no split: say which is which,"
            f" such as {mapping_flag('split.names', {'test': list(unknown)[:1]})}; rows with other values are then left"
            " out"
        )
    if "train" not in split_of.values():
        raise MessagesError(
            f"{where}: the column of split.column says {with_counts(counts)}, and none of it is train: name the value"
            " of train in split.names, or leave split.column out"
        )
    if set(split_of.values()) == {"train"}:
        raise MessagesError(
            f"{where}: by the column of split.column every row is of train: leave split.column out, and the rows are"
            " divided"
        )
    return split_of
