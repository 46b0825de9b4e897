"""The table of classes by hand, and for more of them than it holds."""

import numpy as np
import pytest
from sklearn import metrics as reference

from lib.evaluation.classify.classes import MOST_CLASSES, Confusion, class_table
from lib.evaluation.significance import wilson_interval

LABELS = ("billing", "other", "sales")


def test_labels_and_what_they_are_taken_for_by_hand() -> None:
    table = class_table([[5, 3, 2], [0, 8, 0], [4, 1, 0]], LABELS, confidence=0.95)
    assert [row.label for row in table.rows] == ["sales", "billing", "other"]  # F1: 0, 10 / 19, 16 / 20
    sales, billing, other = table.rows
    assert (sales.rows, sales.predicted, sales.precision, sales.recall, sales.f1) == (5, 2, 0.0, 0.0, 0.0)
    assert sales.recall_interval == wilson_interval(0, 5, 0.95)
    assert billing.precision == pytest.approx(5 / 9)
    assert billing.confusions == (Confusion("billing", "other", 3, 0.3), Confusion("billing", "sales", 2, 0.2))
    assert other.recall == 1.0
    assert [(each.label, each.predicted, each.rows) for each in table.confusions] == [
        ("sales", "billing", 4), ("billing", "other", 3), ("billing", "sales", 2),
    ]  # fmt: skip
    assert table.left_out == 0


def test_figures_are_those_of_scikit_learn_for_250_classes_of_which_the_worst_200_are_shown() -> None:
    generator = np.random.default_rng(0)
    labels = tuple(f"label {number:03}" for number in range(250))
    targets = generator.integers(250, size=5_000)
    predicted = np.where(generator.random(5_000) < 0.7, targets, generator.integers(250, size=5_000))
    confusion = reference.confusion_matrix(targets, predicted, labels=np.arange(250))
    table = class_table(confusion, labels, confidence=0.95)
    assert (len(table.rows), table.left_out) == (MOST_CLASSES, 50)
    _, recall, f1, _ = reference.precision_recall_fscore_support(
        targets, predicted, labels=np.arange(250), zero_division=0
    )
    for row in table.rows:
        index = labels.index(row.label)
        assert (row.recall, row.f1) == pytest.approx((recall[index], f1[index]))
    assert max(row.f1 for row in table.rows) <= np.sort(f1)[MOST_CLASSES]
    assert [each.rows for each in table.confusions] == sorted((each.rows for each in table.confusions), reverse=True)


def test_a_label_without_messages_has_no_interval() -> None:
    table = class_table([[2, 0], [0, 0]], ("ham", "spam"), confidence=0.95)
    spam, ham = table.rows
    assert (spam.recall_interval, spam.precision_interval, spam.confusions) == (None, None, ())
    assert (ham.f1, table.confusions) == (1.0, ())
