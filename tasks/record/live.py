"""Follows a training live: its curves in MLflow, its progress and log on Prefect's page, both in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from lib.progress import Listener, Progress, in_words
from tasks.engine.page import has_page

if TYPE_CHECKING:
    from tasks.engine.step import Work
    from tasks.record.curves import LiveCurves

PREFECT_SECONDS = 2.0  # between two updates of Prefect's progress bar, each a request
AFTER_FAILURE_SECONDS = 60.0  # the same after a lost request, which may take until Prefect's timeout


@contextmanager
def watched(work: Work[Any], key: str) -> Iterator[Listener]:
    """Yields the run's listener, extended with Prefect's page, whose log gets a line for each evaluation. `key` names
    the progress bar there."""
    yield replace(
        work.listener,
        on_row=each_row_to(lambda row: work.log.info("%s", in_words(row)), work.listener.on_row),
        progress=progress_shown(key, work.progress, work.log.warning),
        warn=work.log.warning,
        remark=work.warn,
    )


def with_curves(listener: Listener, curves: LiveCurves) -> Listener:
    """Returns the listener of a run, extended with its curves in MLflow."""

    def at_end(step: str, state: str, seconds: float) -> None:
        curves.send()
        listener.on_end(step, state, seconds)

    return replace(listener, on_row=each_row_to(curves, listener.on_row), on_end=at_end)


def each_row_to(*listeners: Callable[[Mapping[str, float]], None]) -> Callable[[Mapping[str, float]], None]:
    """Returns a callback that passes each row to all of them."""

    def tell(row: Mapping[str, float]) -> None:
        for listener in listeners:
            listener(row)

    return tell


def progress_shown(key: str, terminal: Progress, warn: Callable[[str], None], *, of: str = "fine-tuning") -> Progress:
    """Returns what shows progress on Prefect's page too, where this process is a run's; elsewhere the terminal's."""
    from prefect.context import TaskRunContext

    if has_page() or TaskRunContext.get() is not None:
        return PrefectProgress(key, terminal, warn, of=of)
    return terminal


class PrefectProgress:
    """Shows the progress of long work, `of`, on Prefect's page too, at a readable rate. A lost request does not end the
    work; `warn` is called once."""

    def __init__(self, key: str, terminal: Progress, warn: Callable[[str], None], *, of: str = "fine-tuning") -> None:
        self._of = of
        self._key, self._terminal, self._warn = key.replace("_", "-"), terminal, warn  # Prefect wants dashes
        self._artifact: Any = None
        self._next = 0.0  # time of the next update (time.monotonic)
        self._warned = False

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        from prefect.exceptions import PrefectException

        self._terminal(done, total, unit)
        if not total or (time.monotonic() < self._next and done < total):
            return
        pause = PREFECT_SECONDS
        try:
            self._show(100 * done / total, unit)
        except (httpx.HTTPError, PrefectException) as error:
            pause = AFTER_FAILURE_SECONDS
            if not self._warned:
                self._warn(
                    f"Prefect's page could not be told how far {self._of} is ({type(error).__name__}): it goes on"
                )
                self._warned = True
        self._next = time.monotonic() + pause

    def _show(self, percent: float, unit: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key=self._key, description=f"{unit} of {self._of}")
        else:
            update_progress_artifact(self._artifact, percent)
