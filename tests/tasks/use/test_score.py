"""Names of a scoring run's metrics, which have labels in them."""

from __future__ import annotations

import pytest
from mlflow.entities import Metric
from mlflow.utils.validation import _validate_metric

from tasks.record.mlflow_run import accepted, accepted_names


@pytest.mark.parametrize("label", ["n/a", "yes//no", "spam/", "a/../b", "..", "50 % off: now", "да", "x" * 300])
def test_mlflow_accepts_the_metric_of_any_label(label: str) -> None:
    metric = Metric(accepted("share", label), 0.5, 0, 0)
    _validate_metric(metric.key, metric.value, metric.timestamp, metric.step)  # type: ignore[no-untyped-call]
    assert len(metric.key) <= 250


def test_labels_whose_names_are_alike_have_a_metric_each() -> None:
    assert accepted_names("share", ["a b", "a_b", "a_b_2", "a-b"]) == [
        "share/a_b",
        "share/a_b_2",
        "share/a_b_2_2",
        "share/a-b",
    ]
    long = accepted_names("share", ["x" * 300, "x" * 301])
    assert [len(name) for name in long] == [250, 250]
    assert len(set(long)) == 2
