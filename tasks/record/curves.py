"""A training's curves in MLflow: live as well as that can be, and whole once the training's artifact is there.

A row has the same time both times, so MLflow, which takes a point once, has each once, whatever was lost between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import Metric

from lib.evaluation.flat import curve_name
from tasks.record.mlflow_run import METRICS_A_REQUEST, asked_once, reason_of

if TYPE_CHECKING:
    from lib.store.artifacts import Artifact

SEND_SECONDS = 2.0  # between requests while training: live to a person, no load for the server
AFTER_FAILURE_SECONDS = 60.0  # the same after a lost request
PATIENCE = 10.0  # seconds that a request may take while training
REST = 9.0  # times as long as a request took, before the next: a slow server costs a training a tenth at most


def points_of(row: Mapping[str, Any], began: int) -> list[Metric]:
    """Returns a history's row as MLflow's points: `step` is theirs, NaN is left out. began: when the run did, in
    milliseconds since 1970."""
    at = began + round(1000 * float(row["seconds"]))
    return [
        Metric(curve_name(name), float(value), at, int(row["step"]))
        for name, value in row.items()
        if name != "step" and value is not None and not math.isnan(value)
    ]


def send(tracking: MlflowClient, run_id: str, points: list[Metric]) -> None:
    """Sends points, removing what MLflow has taken from the list. Raises `FAILURES`."""
    while points:
        tracking.log_batch(run_id, metrics=points[:METRICS_A_REQUEST])
        del points[:METRICS_A_REQUEST]


def send_whole(tracking: MlflowClient, run_id: str, trained: Artifact, began: int) -> tuple[int, int]:
    """Sends the whole curves of a training; returns the last step, and the time of its points. Raises `FAILURES`."""
    from lib.training.history import read_history

    points = [
        point
        for row in read_history(trained.file("history.parquet")).to_dict("records")
        for point in points_of({str(name): value for name, value in row.items()}, began)
    ]
    last = max(point.step for point in points), max(point.timestamp for point in points)
    send(tracking, run_id, points)
    return last


class LiveCurves:
    """Sends rows to an MLflow run while they are measured. What is lost is sent with the next ones, or by whoever sends
    the whole curves; `warn` is called once.

    open_run: returns a client and the run's id, or raises what MLflow does.
    """

    def __init__(
        self,
        open_run: Callable[[], tuple[MlflowClient, str]],
        began: int,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._open_run, self._began, self._warn = open_run, began, warn
        self._waiting: list[Metric] = []
        self._next = 0.0  # time of the next request (time.monotonic)
        self._run: tuple[MlflowClient, str] | None = None
        self._warned = False

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Adds one row of the history."""
        self._waiting += points_of(row, self._began)
        self._send_now_and_then()

    def send(self) -> None:
        """Sends the remaining rows, unless a request was lost a moment ago."""
        if not self._warned:
            self._next = 0.0
        self._send_now_and_then()

    def _send_now_and_then(self) -> None:
        started = time.monotonic()
        if not self._waiting or started < self._next:
            return
        pause = SEND_SECONDS
        try:
            with asked_once(PATIENCE):
                self._run = self._run or self._open_run()
                send(*self._run, self._waiting)
        except Exception as error:  # whatever it is, the training goes on, and its curves are sent whole at the end
            pause = AFTER_FAILURE_SECONDS
            if not self._warned:
                self._warn(f"MLflow did not take the curves ({reason_of(error)}): they are kept and sent again")
                self._warned = True
        ended = time.monotonic()
        self._next = ended + max(pause, REST * (ended - started))
