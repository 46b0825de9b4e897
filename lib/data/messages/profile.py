"""Describes messages in numbers, for `profile.json`."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.messages.alike import Alike
from lib.data.messages.reading import EMPTY_TEXT
from lib.data.parts import counted


@dataclass
class Counted:
    """Labels and lengths of messages that come in batches.

    labels: rows by label, in the order in which they came. characters: rows by length of the text.
    """

    labels: Counter[str] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)

    def add(self, messages: pa.RecordBatch) -> None:
        """Counts messages (text, label)."""
        self.labels.update(counted(messages["label"]))
        self.characters.update(counted(pc.utf8_length(messages["text"])))

    @property
    def rows(self) -> int:
        """The number of messages."""
        return self.labels.total()


def profile_messages(found: Counted, alike: Alike, left_out: Mapping[str, int]) -> dict[str, Any]:
    """Describes messages, JSON-able.

    rows: messages.
    labels: rows of each label, the most frequent first.
    characters: min, median, p95 and max of a text; total of all.
    duplicate_texts: rows beyond the first of each text.
    near_duplicate_texts: the same, ignoring case, digits, punctuation and space.
    contradicting_texts: texts that stand there with different labels.
    left_out: rows of the source that are no messages, by reason. empty_texts_dropped: those without a text.
    """
    labels = found.labels
    return {
        "rows": found.rows,
        "labels": {label: labels[label] for label in sorted(labels, key=lambda label: (-labels[label], label))},
        "characters": spread(found.characters),
        **alike.as_json(),
        "left_out": dict(Counter(left_out).most_common()),
        "empty_texts_dropped": left_out.get(EMPTY_TEXT, 0),
    }


def spread(lengths: Mapping[int, int]) -> dict[str, int | float]:
    """Returns minimum, median, 95th percentile, maximum and sum of at least one length, given as rows by length; the
    percentiles as `numpy.percentile` has them."""
    ordered = sorted(lengths)
    return {
        "min": ordered[0],
        "median": percentile(lengths, 50),
        "p95": percentile(lengths, 95),
        "max": ordered[-1],
        "total": sum(length * count for length, count in lengths.items()),
    }


def percentile(lengths: Mapping[int, int], percent: float) -> float:
    """Returns a percentile of lengths, given as rows by length, as `numpy.percentile` has it: between two lengths in
    proportion."""
    ordered = sorted(lengths)
    behind = list(accumulate(lengths[length] for length in ordered))  # rows up to each length
    place = (behind[-1] - 1) * (percent / 100)
    lower, upper = (ordered[bisect_right(behind, row)] for row in (int(place), min(int(place) + 1, behind[-1] - 1)))
    return float(np.quantile([lower, upper], place - int(place)))
