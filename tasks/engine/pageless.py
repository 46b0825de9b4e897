"""Lets a run go on without its page: steps need the store, and Prefect's server only shows them.

A run from a terminal ends with what its work came to, and one sentence, where its server was lost on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from tasks.engine.log import LOG
from tasks.engine.settings import changed_settings

T = TypeVar("T")
AGAIN_SECONDS = 60.0  # after which a server that was lost is asked again
TRIES_AGAIN = 1  # of Prefect's client, after 2 s; its default is 5, in 62 s
ANSWER_SECONDS = 10.0  # in which a server answers that works; Prefect's default is 60


@dataclass
class Outcome:
    """What the work of a flow came to, whatever Prefect's engine can tell of it."""

    begins: Callable[[str], None]  # is told the flow run's id
    ended: bool = False
    result: Any = None
    error: Exception | None = None
    lost: BaseException | None = None  # why the server has not been told all
    next_try: float = 0.0  # time.monotonic


OUTCOME: ContextVar[Outcome | None] = ContextVar("OUTCOME", default=None)


@contextmanager
def outcome_noted(begins: Callable[[str], None]) -> Iterator[Outcome]:
    """Yields what the flow that is called in the block comes to; `begins` is called with its run's id."""
    outcome = Outcome(begins)
    token = OUTCOME.set(outcome)
    try:
        yield outcome
    finally:
        OUTCOME.reset(token)


def noted(work: Callable[[], T]) -> T:
    """Does the work of the present flow run and returns what it returns, also to the block of `outcome_noted`."""
    from prefect import runtime

    outcome = OUTCOME.get()
    if outcome is None:
        return work()
    outcome.begins(str(runtime.flow_run.id))
    try:
        outcome.result = work()
    except Exception as error:
        outcome.error, outcome.ended = error, True
        raise
    outcome.ended = True
    result: T = outcome.result
    return result


@contextmanager
def impatient() -> Iterator[None]:
    """In this block a server that is gone, or gives no answer, is not waited for as long as Prefect does: seven minutes
    for each request."""
    with changed_settings(client={"max_retries": TRIES_AGAIN}, api={"request_timeout": ANSWER_SECONDS}):
        yield


def asked_if_there(ask: Callable[[], T], otherwise: Callable[[], T]) -> T:
    """Returns what `ask` returns, which asks Prefect's server something; what `otherwise` returns if that is gone."""
    outcome = OUTCOME.get()
    if outcome is None or time.monotonic() >= outcome.next_try:
        try:
            return ask()
        except Exception as error:
            if outcome is None:
                LOG.warning("Prefect's server did not do what it was asked (%s): the run goes on", error)
            else:
                outcome.lost, outcome.next_try = error, time.monotonic() + AGAIN_SECONDS
    return otherwise()


def create_link_artifact(link: str, *, key: str, link_text: str, description: str) -> None:
    """Puts a link on the run's page, if that is there."""
    from prefect import artifacts

    _show(lambda: artifacts.create_link_artifact(link, link_text=link_text, key=key, description=description))


def create_markdown_artifact(markdown: str, *, key: str, description: str) -> None:
    """Puts text on the run's page, if that is there."""
    from prefect import artifacts

    _show(lambda: artifacts.create_markdown_artifact(markdown, key=key, description=description))


def create_table_artifact(rows: list[dict[str, Any]], *, key: str, description: str) -> None:
    """Puts a table on the run's page, if that is there."""
    from prefect import artifacts

    _show(lambda: artifacts.create_table_artifact(rows, key=key, description=description))


def _show(create: Callable[[], Any]) -> None:
    asked_if_there(create, lambda: None)
