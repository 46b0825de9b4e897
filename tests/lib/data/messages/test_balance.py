"""Drawing, repeating and weighing classes of unequal size."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from lib.data.messages.balance import balance_messages, class_weights


def messages(**counts: int) -> pd.DataFrame:
    """So many messages of each label, the labels taking turns in the file."""
    labels = [label for turn in range(max(counts.values())) for label, count in counts.items() if turn < count]
    texts = [f"{label} {row}" for row, label in enumerate(labels)]
    return pd.DataFrame({"id": range(len(labels)), "text": texts, "label": labels})


def test_undersample_is_the_published_procedure_to_the_row() -> None:
    table = messages(ham=20, spam=6)
    ham, spam = table[table["label"] == "ham"], table[table["label"] == "spam"]
    published = pd.concat([ham.sample(6, random_state=123), spam])

    result = balance_messages(table, method="undersample", seed=123)
    assert result.balanced["id"].tolist() == published["id"].tolist()
    assert result.balanced.index.tolist() == list(range(12))


def test_undersample_puts_the_rest_into_the_reserve_in_file_order() -> None:
    table = messages(ham=20, spam=6)
    result = balance_messages(table, method="undersample", seed=123)
    left_out = [row for row in table["id"] if row not in set(result.balanced["id"])]
    assert result.reserve["id"].tolist() == left_out
    assert len(left_out) == 14


def test_undersample_with_many_classes_goes_by_size_then_name() -> None:
    table = messages(a=3, z=7, m=5, k=5, b=3)
    result = balance_messages(table, method="undersample", seed=1)
    assert result.balanced["label"].tolist() == [label for label in "zkmab" for _ in range(3)]
    for label in "ab":  # already the smallest: in the order of the file
        kept = result.balanced.loc[result.balanced["label"] == label, "id"]
        assert kept.tolist() == table.loc[table["label"] == label, "id"].tolist()
    for label in "zkm":
        drawn = table[table["label"] == label].sample(3, random_state=1)
        assert result.balanced.loc[result.balanced["label"] == label, "id"].tolist() == drawn["id"].tolist()


def test_another_seed_draws_others() -> None:
    table = messages(ham=20, spam=6)
    one, other = (balance_messages(table, method="undersample", seed=seed).balanced for seed in (1, 2))
    assert set(one["id"]) != set(other["id"])


def test_oversample_repeats_whole_and_draws_the_remainder() -> None:
    table = messages(ham=11, spam=4)
    result = balance_messages(table, method="oversample", seed=123)
    assert result.balanced["label"].value_counts().to_dict() == {"ham": 11, "spam": 11}
    copies = result.balanced.loc[result.balanced["label"] == "spam", "id"].value_counts()
    assert sorted(copies) == [2, 3, 3, 3]
    assert set(result.balanced["id"]) == set(table["id"])
    assert result.reserve.empty


@pytest.mark.parametrize("method", ["class_weights", "none"])
def test_everything_is_kept_when_nothing_is_drawn(method: Literal["class_weights", "none"]) -> None:
    table = messages(ham=5, spam=2)
    result = balance_messages(table, method=method, seed=0)
    pd.testing.assert_frame_equal(result.balanced, table)
    assert result.reserve.empty
    assert list(result.reserve.columns) == ["id", "text", "label"]


def test_class_weights_are_inverse_frequencies() -> None:
    assert class_weights(["ham", "spam", "ham", "ham"]) == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    assert class_weights([1, 0, 0, 0]) == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])


def test_class_weights_equal_scikit_learns() -> None:
    targets = [0] * 50 + [1] * 7 + [2] * 21
    assert class_weights(targets) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(3), y=targets).tolist()
    )
