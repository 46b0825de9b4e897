"""Describes messages in numbers, for `profile.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.data.messages.checks import Repeated
from lib.data.messages.reading import EMPTY_TEXT

Integers = npt.NDArray[np.int64]


def profile_messages(messages: pd.DataFrame, repeated: Repeated, left_out: Mapping[str, int]) -> dict[str, Any]:
    """Describes a table of messages, JSON-able.

    rows: messages in the table.
    labels: rows of each label, the most frequent first.
    characters: min, median, p95 and max of a text; total of all.
    duplicate_texts: rows beyond the first of each text.
    near_duplicate_texts: the same, ignoring case, digits, punctuation and space.
    contradicting_texts: texts that stand there with different labels.
    left_out: rows of the source that are no messages, by reason. empty_texts_dropped: those without a text.
    """
    labels = Counter(messages["label"])
    return {
        "rows": len(messages),
        "labels": {label: labels[label] for label in sorted(labels, key=lambda label: (-labels[label], label))},
        "characters": spread(np.fromiter(map(len, messages["text"]), np.int64, len(messages))),
        **repeated.as_json(),
        "left_out": dict(Counter(left_out).most_common()),
        "empty_texts_dropped": left_out.get(EMPTY_TEXT, 0),
    }


def spread(lengths: Sequence[int] | Integers) -> dict[str, int | float]:
    """Returns minimum, median, 95th percentile, maximum and sum of at least one length."""
    return {
        "min": int(min(lengths)),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "max": int(max(lengths)),
        "total": int(sum(lengths)),
    }
