"""Names of a scoring run's metrics, which have labels in them."""

from __future__ import annotations

import pytest
from mlflow.entities import Metric
from mlflow.utils.validation import _validate_metric

from tasks.record.mlflow_run import accepted


@pytest.mark.parametrize("label", ["n/a", "yes//no", "spam/", "a/../b", "..", "50 % off: now", "да", "x" * 300])
def test_mlflow_accepts_the_metric_of_any_label(label: str) -> None:
    metric = Metric(accepted("share", label), 0.5, 0, 0)
    _validate_metric(metric.key, metric.value, metric.timestamp, metric.step)  # type: ignore[no-untyped-call]
    assert len(metric.key) <= 250
