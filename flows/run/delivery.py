"""Delivers records that wait in the outbox: of runs that ended while a server was away, or whose process was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lib.errors import ServiceError
from lib.secrets import redacted
from tasks.engine.log import run_log
from tasks.record.mlflow_run import asked_once, client, reason_of
from tasks.record.outbox import KILLED, Outbox, Record, artifacts_of, now, servers
from tasks.record.recording import LONGEST_ERROR, Recording, deliver
from tasks.report.drift import SCORING

if TYPE_CHECKING:
    from flows.use_cases.use_case import UseCase

BRIEFLY = 30.0  # seconds after which a run begins with no other record


@dataclass(frozen=True)
class Delivered:
    """What became of a record. why_not: in a clause; empty: all of it is delivered."""

    record: Record
    why_not: str = ""


def deliver_older(own: Record) -> None:
    """Delivers the records of earlier runs before that of this one: models are registered in their order. Never takes
    this run with it, and does not go on for long."""
    outbox = Outbox()
    outbox.sweep()
    waiting = [record for record in outbox.records()[0] if record.id != own.id and record.started <= own.started]
    if not waiting:
        return
    until = time.monotonic() + BRIEFLY
    # Nothing of it belongs to this run's page, so it is done as if there was none.
    Context().run(_deliver_some, [record for record in waiting if _place(record) == _place(own)], until)


def deliver_all(*, elsewhere: bool = False) -> Iterator[Delivered]:
    """Delivers all records of the home, the oldest first, and yields what became of each. elsewhere: those as well that
    were meant for another server than the present one. Raises AwayError if MLflow does not answer."""
    client()
    for record in Outbox().records()[0]:
        if record.alive:
            continue
        if _place(record) != servers() and not elsewhere:
            server = record.server or "this home's own file"
            yield Delivered(record, f"it was meant for {server}: set MLFLOW_TRACKING_URI to it, or add --all")
        else:
            yield _delivered(record)


def _deliver_some(records: list[Record], until: float) -> None:
    for record in records:
        if time.monotonic() > until:
            return
        outcome = _delivered(record)
        if outcome.why_not:
            run_log().info("the record of run %s still waits: %s", record.name, outcome.why_not)


def _delivered(waiting: Record) -> Delivered:
    """Delivers one record, unless its run goes on or somebody else delivers it."""
    outbox = Outbox()
    try:
        with outbox.taken(waiting.id) as record, asked_once():
            if record is None:
                left = outbox.read(waiting.id)
                return Delivered(left or waiting, "" if left is None else "another process works with it")
            recording = Recording(record, outbox)
            _prepare(recording)
            _deliver(recording)
            return Delivered(recording.record, recording.waits)
    except Exception as error:  # whatever is wrong with one record, the others and the present run go on
        return Delivered(waiting, reason_of(error))


def _deliver(recording: Recording) -> None:
    """Delivers a record; a run whose model the registry refuses ends as it would have then."""
    try:
        deliver(recording)
    except ServiceError as error:
        recording.tell = _nothing
        recording.note(status="FAILED", error=redacted(str(error))[:LONGEST_ERROR])
        deliver(recording)


def _nothing() -> None:
    """Is told of a run that failed, besides its params and its end."""


def _prepare(recording: Recording) -> None:
    """Decides how the run ended, and what has to be told of it."""
    record = recording.record
    if record.status == "RUNNING":
        recording.note(status="FAILED", ended=now(), error=KILLED)
    elif record.status == "FINISHED" and record.recipe is not None:
        recording.tell = _telling(recording)
    elif record.status == "FINISHED" and record.experiment == SCORING:
        from tasks.use.score import save_scoring_view  # here, because it imports torch

        recording.tell = partial(save_scoring_view, recording)


def _telling(recording: Recording) -> Callable[[], None]:
    from flows.run.telling import Telling

    record = recording.record
    use_case = _use_case(record.experiment)
    recipe = use_case.recipe.model_validate(record.recipe)
    return Telling(use_case, recipe, recording, artifacts_of(record)).rest


def _use_case(flow: str) -> UseCase:
    from flows.use_cases.classify import CLASSIFY
    from flows.use_cases.instruct import INSTRUCT

    return next(use_case for use_case in (CLASSIFY, INSTRUCT) if use_case.flow == flow)


def _place(record: Record) -> tuple[str, str]:
    return record.server, record.registry
