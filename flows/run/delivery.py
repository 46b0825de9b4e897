"""Delivers records that wait in the outbox: of runs that ended while a server was away, or whose process was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lib.secrets import redacted
from tasks.compare.names import COMPARING, COMPARISON_TAG, OPENED_TAG, REGISTERS_TAG
from tasks.engine.log import run_log
from tasks.record.mlflow_run import RefusedNameError, client, reason_of
from tasks.record.outbox import KILLED, Outbox, Record, artifacts_of, now, servers
from tasks.record.recording import LONGEST_ERROR, Recording, deliver
from tasks.report.drift import SCORING

if TYPE_CHECKING:
    from flows.run.telling import Telling
    from flows.use_cases.use_case import UseCase

BRIEFLY = 30.0  # seconds that a run has for other records, before its own and after it


@dataclass(frozen=True)
class Delivered:
    """What became of a record. why_not: in a clause; empty: all of it is delivered."""

    record: Record
    why_not: str = ""


def deliver_older(own: Record) -> None:
    """Delivers the records of earlier runs that register under the same name before that of this run: versions are
    registered in their order. Never takes this run with it, and does not begin with another one for long."""
    _deliver_for_a_while(own, lambda waiting: [record for record in waiting if _name(record) == _name(own)])


def deliver_others(own: Record) -> None:
    """Delivers what waits of other runs before this one, whose own record is delivered: one record at least, however
    slow the server is. What there is no time for waits for the next run."""
    _deliver_for_a_while(own, _least_tried_first)


def _least_tried_first(waiting: list[Record]) -> list[Record]:
    """Returns the records in the order in which names were tried, so that each has its turn whatever becomes of others;
    those of one name stay in theirs."""
    tried: dict[str, int] = {}
    for record in waiting:
        group = _name(record) or record.id
        tried[group] = max(tried.get(group, 0), record.tried)
    return sorted(waiting, key=lambda record: tried[_name(record) or record.id])


def _deliver_for_a_while(own: Record, wanted: Callable[[list[Record]], list[Record]]) -> None:
    outbox = Outbox()
    try:
        outbox.sweep()
        older = [record for record in outbox.records()[0] if record.id != own.id and record.started <= own.started]
        waiting = wanted([record for record in older if _place(record) == _place(own)])
        if waiting:
            # Nothing of it belongs to this run's page, so it is done as if there was none.
            Context().run(_deliver_some, waiting, time.monotonic() + BRIEFLY)
    except Exception as error:  # whatever is wrong with the outbox, the present run goes on
        run_log().warning("what waits in %s is not delivered (%s)", outbox.folder, reason_of(error))


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
    """Delivers the first record, and those after it that will probably be done before `until` (time.monotonic)."""
    longest = 0.0  # seconds that a record took
    for number, record in enumerate(records):
        began = time.monotonic()
        if number and began + longest > until:
            left = len(records) - number
            run_log().info("records of earlier runs that wait for the next run, or `finetune deliver`: %d", left)
            return
        outcome = _delivered(record)
        longest = max(longest, time.monotonic() - began)
        if outcome.why_not:
            run_log().info("the record of run %s still waits: %s", record.name, outcome.why_not)


def _delivered(waiting: Record) -> Delivered:
    """Delivers one record, unless its run goes on or somebody else delivers it."""
    outbox = Outbox()
    try:
        with outbox.taken(waiting.id) as record:
            if record is None:
                left = outbox.read(waiting.id)
                return Delivered(left or waiting, "" if left is None else "another process works with it")
            recording = Recording(record, outbox)
            recording.note(tried=record.tried + 1)
            _prepare(recording)
            _deliver(recording)
            return Delivered(recording.record, recording.waits)
    except Exception as error:  # whatever is wrong with one record, the others and the present run go on
        return Delivered(waiting, reason_of(error))


def _deliver(recording: Recording) -> None:
    """Delivers a record; a run whose model the registry refuses for good ends as it would have then. Whatever else is
    refused can be mended, and the record waits for that."""
    try:
        deliver(recording)
    except RefusedNameError as error:
        recording.tell = _nothing
        recording.note(status="FAILED", error=redacted(str(error))[:LONGEST_ERROR])
        deliver(recording)


def _nothing() -> None:
    """Is told of a run that failed, besides its params and its end."""


def _prepare(recording: Recording) -> None:
    """Decides where the record goes, how the run ended, and what has to be told of it."""
    record, (server, registry) = recording.record, servers()
    if _place(record) != (server, registry):  # where it has a run is not this server
        recording.note(server=server, registry=registry, run="", half_published=False)
    if record.status == "RUNNING":
        recording.note(status="FAILED", ended=now(), error=KILLED)
    elif COMPARISON_TAG in record.tags and record.status != "FINISHED":
        from tasks.compare.recording import put_below

        recording.tell = partial(put_below, recording)
    elif record.status == "FINISHED" and record.experiment == COMPARING:
        recording.tell = _comparing(recording)
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


def _comparing(recording: Recording) -> Callable[[], None]:
    """Tells of a comparison, of one of its trainings, or of the one that was chosen."""
    from flows.run.telling import Telling
    from flows.use_cases.classify import CLASSIFY
    from tasks.compare.recording import tell_comparison, tell_training

    record = recording.record
    if record.recipe is None:
        return partial(tell_comparison, recording)
    if OPENED_TAG not in record.tags:
        return partial(tell_training, recording)
    recipe = CLASSIFY.recipe.model_validate(record.recipe)
    registers = REGISTERS_TAG in record.tags
    telling = Telling(CLASSIFY, recipe, recording, artifacts_of(record), registers=registers)
    return partial(tell_chosen, recording, telling)


def tell_chosen(recording: Recording, telling: Telling) -> None:
    """Tells MLflow all that it does not know yet of a comparison's chosen one, and below which comparison it is."""
    from tasks.compare.recording import put_below

    put_below(recording)
    telling.rest()


def _use_case(flow: str) -> UseCase:
    from flows.use_cases.classify import CLASSIFY
    from flows.use_cases.instruct import INSTRUCT

    return next(use_case for use_case in (CLASSIFY, INSTRUCT) if use_case.flow == flow)


def _place(record: Record) -> tuple[str, str]:
    return record.server, record.registry


def _name(record: Record) -> str | None:
    """Returns under which name the record's model is registered; None if it has none."""
    return record.params.get("registry.name")
