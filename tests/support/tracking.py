"""Where MLflow records in the process of the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow


@contextmanager
def tracking_restored() -> Iterator[None]:
    """After the block MLflow records where it did before: where nobody had said so, nobody has.

    `mlflow.get_tracking_uri` would then name a file in the current folder, and setting that makes later tests, and the
    processes that they start, write there.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")  # which `mlflow.set_tracking_uri` sets too
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type] # it takes None, which is how it begins
