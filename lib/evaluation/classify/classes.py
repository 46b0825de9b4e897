"""Tells which classes a classifier knows, and which it takes for which: a table for up to 200 classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib.evaluation.significance import wilson_interval

MOST_CLASSES = 200  # in the table; of more, those with the lowest F1
MOST_CONFUSIONS = 20  # of all classes
PER_CLASS = 3  # confusions that stand beside a class
LEAST_ROWS = 2  # of a confusion: once happens to any two classes


@dataclass(frozen=True)
class Confusion:
    """Messages of one label that got another; share: of the messages of their label."""

    label: str
    predicted: str
    rows: int
    share: float


@dataclass(frozen=True)
class LabelRow:
    """The figures of one label.

    rows, predicted: messages that have it, and that got it. recall_interval, precision_interval: Wilson's; None without
    messages. confusions: what its messages got instead, the most frequent first.
    """

    label: str
    rows: int
    predicted: int
    precision: float
    recall: float
    f1: float
    precision_interval: tuple[float, float] | None
    recall_interval: tuple[float, float] | None
    confusions: tuple[Confusion, ...]


@dataclass(frozen=True)
class ClassTable:
    """The labels, the lowest F1 first; how many more there are, with a higher F1; the confusions that matter of all."""

    rows: tuple[LabelRow, ...]
    left_out: int
    confusions: tuple[Confusion, ...]


def class_table(confusion: ArrayLike, labels: Sequence[str], *, confidence: float) -> ClassTable:
    """Makes the table from the counts `confusion` (true labels, predicted labels), as `measure` returns them.

    A confusion matters if it happened at least twice; the most frequent come first, and of equally frequent ones those
    that take the larger share of their label's messages.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    rows = [_label_row(counts, labels, index, confidence) for index in range(len(labels))]
    rows.sort(key=lambda row: (row.f1, -row.rows, row.label))
    wrong = [
        each for index in range(len(labels)) for each in _confusions(counts, labels, index) if each.rows >= LEAST_ROWS
    ]
    wrong.sort(key=_gravity)
    return ClassTable(tuple(rows[:MOST_CLASSES]), max(0, len(rows) - MOST_CLASSES), tuple(wrong[:MOST_CONFUSIONS]))


def _label_row(counts: NDArray[np.int64], labels: Sequence[str], index: int, confidence: float) -> LabelRow:
    hits, rows, predicted = int(counts[index, index]), int(counts[index].sum()), int(counts[:, index].sum())
    return LabelRow(
        label=labels[index],
        rows=rows,
        predicted=predicted,
        precision=hits / predicted if predicted else 0.0,
        recall=hits / rows if rows else 0.0,
        f1=2 * hits / (rows + predicted) if rows + predicted else 0.0,
        precision_interval=wilson_interval(hits, predicted, confidence) if predicted else None,
        recall_interval=wilson_interval(hits, rows, confidence) if rows else None,
        confusions=tuple(_confusions(counts, labels, index)[:PER_CLASS]),
    )


def _confusions(counts: NDArray[np.int64], labels: Sequence[str], index: int) -> list[Confusion]:
    """Returns what the messages of a label got instead, the most frequent first."""
    row = counts[index]
    found = [
        Confusion(labels[index], labels[other], int(row[other]), float(row[other] / row.sum()))
        for other in np.flatnonzero(row).tolist()
        if other != index
    ]
    return sorted(found, key=_gravity)


def _gravity(confusion: Confusion) -> tuple[int, float, str, str]:
    return -confusion.rows, -confusion.share, confusion.label, confusion.predicted
