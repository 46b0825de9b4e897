"""Balances classes of unequal size by sampling messages or weighting the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Balanced:
    """Tables of messages (id int64, text, label).

    balanced: the messages to split; an id is repeated where its message was.
    reserve: the messages left out, in the order of the file; may be empty.
    """

    balanced: pd.DataFrame
    reserve: pd.DataFrame


def balance_messages(
    messages: pd.DataFrame, *, method: Literal["undersample", "oversample", "class_weights", "none"], seed: int
) -> Balanced:
    """Makes the classes equal in size, or leaves that to the weights of the loss.

    undersample: draws as many of each class as the smallest has, without replacement. With two classes this is the
    published procedure to the row: `pandas.concat([larger.sample(n, random_state=seed), smaller])`. With more, the
    largest comes first (ties by name), each drawn with the same seed; classes of the smallest size keep the file's
    order.
    oversample: repeats each class whole as often as it fits into the largest, then draws the rest without replacement.
    Copies keep the id of their message.
    class_weights, none: keeps everything (see `class_weights`).
    """
    if method in ("class_weights", "none"):
        return Balanced(messages.reset_index(drop=True), messages.iloc[:0].reset_index(drop=True))
    sizes = Counter(messages["label"])
    by_size = sorted(sizes, key=lambda label: (-sizes[label], label))
    classes = [messages[messages["label"] == label] for label in by_size]
    if method == "undersample":
        smallest = len(classes[-1])
        parts = [one if len(one) == smallest else one.sample(smallest, random_state=seed) for one in classes]
    else:
        parts = [_repeated(one, count=len(classes[0]), seed=seed) for one in classes]
    drawn = pd.concat(parts)
    reserve = messages[~messages["id"].isin(drawn["id"])]
    return Balanced(drawn.reset_index(drop=True), reserve.reset_index(drop=True))


def _repeated(messages: pd.DataFrame, *, count: int, seed: int) -> pd.DataFrame:
    """Returns `count` rows of one class: whole repeats, then a draw without replacement."""
    repeats, remainder = divmod(count, len(messages))
    return pd.concat([*[messages] * repeats, messages.sample(remainder, random_state=seed)])


def class_weights(labels: Iterable[Any]) -> list[float]:
    """Returns inverse class frequencies, in the order of the sorted labels (or targets, whose order is the same).

    weight = n / (k * n_class) for n messages and k classes, averaging 1 over all messages: scikit-learn's
    `class_weight="balanced"` (King and Zeng, 2001, "Logistic Regression in Rare Events Data").
    """
    sizes = Counter(labels)
    return [sizes.total() / (len(sizes) * sizes[label]) for label in sorted(sizes)]
