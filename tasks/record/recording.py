"""A run's record on its way into MLflow: the run is created once, found again by its record, and ends as it ended.

The record never endangers the result: what MLflow does not take waits in the outbox.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Param, Run, ViewType
from mlflow.exceptions import MlflowException
from prefect.exceptions import TerminationSignal

from lib.processes.identity import lives
from lib.secrets import redacted
from tasks.engine.log import run_log
from tasks.record.checked import EmptyAnswerError, says_missing
from tasks.record.mlflow_run import (
    ERROR_TAG,
    FAILURES,
    PARAMS_A_REQUEST,
    RECORD_TAG,
    RefusedNameError,
    asked_once,
    client,
    experiment_id,
    log_metrics,
    may_pass,
    reason_of,
    require_address,
    set_tags,
)
from tasks.record.outbox import KILLED, Outbox, Record, Status, now

HOST_TAG, PROCESS_TAG = "finetune.host", "finetune.process"
LONGEST_ERROR = 500  # characters of what is told of an error
LAST_SECONDS = 2.0  # that telling of a run which was ended from outside may take, for each request


class Recording:
    """The record of a run, kept in the outbox with each change. The caller holds its lock.

    asked: whether MLflow may have been asked before to create its run.
    """

    def __init__(self, record: Record, outbox: Outbox, *, asked: bool = True) -> None:
        self.record, self._outbox, self._asked = record, outbox, asked
        self.waits = ""  # why a part of it is not delivered yet
        self.tell: Callable[[], None] = lambda: None  # tells MLflow what the run comes to, besides its params and end
        self.experiment = ""  # its id in MLflow, once the run is known to be there

    def note(self, **changes: Any) -> None:
        """Keeps what is known now. That cannot be kept is only a warning: the work itself goes on."""
        changed = self.record.model_copy(update=changes)
        if changed == self.record:
            return
        self.record = changed
        try:
            self._outbox.save(self.record)
        except (*FAILURES, OSError) as error:
            run_log().warning("the record of this run could not be kept in %s (%s)", self._outbox.folder, error)

    def open(self) -> tuple[MlflowClient, str]:
        """Returns a client, and the id of the record's run in MLflow, created or found. Raises `FAILURES`."""
        tracking = client()
        if not self.experiment:
            asked, self._asked = self._asked, True
            run = _run_of(tracking, self.record, asked=asked)
            self.note(run=run.info.run_id)
            if not _had(run, self.record.params, {}):
                _log_params(tracking, run.info.run_id, self.record)
            self.experiment = run.info.experiment_id
        return tracking, self.record.run

    def ended(self, status: Status, error: str = "") -> None:
        """Notes how the run ended, and when."""
        self.note(status=status, ended=now(), error=error)

    def end(self) -> None:
        """Tells MLflow how the run ended. Raises `FAILURES`."""
        tracking, run_id = self.open()
        record = self.record
        known = tracking.get_run(run_id)
        if record.error == KILLED and known.info.status != "RUNNING":
            return  # it had been told how it ended before it was killed
        if record.metrics:
            log_metrics(tracking, run_id, record.metrics, step=0, at=record.measured or record.started)
        set_tags(tracking, run_id, record.told)
        if known.info.run_name != record.name:
            tracking.update_run(run_id, name=record.name)
        if record.error:
            tracking.set_tag(run_id, ERROR_TAG, record.error)
        elif ERROR_TAG in known.data.tags:  # by another home's run, which took this one's process for killed
            tracking.delete_tag(run_id, ERROR_TAG)
        tracking.set_terminated(run_id, record.status, record.ended)
        told = tracking.get_run(run_id)
        if told.info.status != record.status or not _had(told, record.params, record.told):
            raise EmptyAnswerError("and takes what MLflow should have")
        for run in _runs_of(tracking, record, self.experiment):
            if run.info.run_id != run_id:  # of a request that seemed lost
                tracking.delete_run(run.info.run_id)

    def delivered(self) -> None:
        """Forgets the record, unless a part of it waits."""
        if not self.waits:
            self._outbox.remove(self.record.id)

    def lost(self, error: BaseException) -> None:
        """Notes why a part of it waits."""
        self.waits = self.waits or reason_of(error)


@contextmanager
def recorded(record: Record) -> Iterator[Recording]:
    """Keeps the record of what the block does, from its beginning to its end: FINISHED, FAILED after an exception, or
    KILLED after Ctrl-C or a cancellation.

    What MLflow does not take is a warning, and waits in the outbox. Raises StoreError where the record cannot even be
    begun, because the disk is full.
    """
    require_address()
    outbox = Outbox()
    with outbox.lock(record.id):
        outbox.save(record)
        recording = Recording(record, outbox, asked=False)
        try:
            _begin(recording)
            yield recording
        except BaseException as error:
            by_signal = isinstance(error, (KeyboardInterrupt, TerminationSignal))  # Ctrl-C, or cancelled on the page
            recording.ended(
                "KILLED" if by_signal else "FAILED", redacted(str(error))[:LONGEST_ERROR] or type(error).__name__
            )
            with asked_once(LAST_SECONDS):
                recording.tell = lambda: None
                deliver(recording)
            if recording.waits:
                run_log().warning("%s", waits_in_words(recording))
            raise
        recording.ended("FINISHED")
        deliver(recording)


def deliver(recording: Recording) -> None:
    """Tells MLflow all that it does not know yet of a run that has ended; what it does not take waits, and
    `recording.waits` says why. Raises RefusedNameError for a model that the registry will never take."""
    recording.waits = ""
    try:
        recording.open()
        recording.tell()
        recording.end()
    except RefusedNameError:
        raise
    except Exception as error:
        recording.lost(error)
    recording.delivered()


def tell_what_waits(recording: Recording) -> str:
    """Says in the log if a part of the record waits; returns the sentence, or nothing."""
    waits = waits_in_words(recording)
    if waits:
        run_log().info("%s", waits)
    return waits


def waits_in_words(recording: Recording) -> str:
    """Returns a sentence if a part of the record waits; nothing if all of it is delivered."""
    if not recording.waits:
        return ""
    return (
        f"MLflow does not have all of this run yet ({recording.waits}): its record {recording.record.id} waits in the"
        " outbox, and `finetune deliver` sends it, as the next run does"
    )


def _begin(recording: Recording) -> None:
    try:
        tracking, _ = recording.open()
        close_abandoned_runs(tracking, recording.experiment)
    except Exception as error:
        if not may_pass(error):
            raise
        run_log().warning("%s: the run goes on, and MLflow is told of it later", reason_of(error))


def _run_of(tracking: MlflowClient, record: Record, *, asked: bool) -> Run:
    """Returns the record's run, which is created where there is none. asked: whether that may have been tried."""
    known = _known(tracking, record) if record.run else None
    if known is not None:
        return known
    experiment = experiment_id(tracking, record.experiment)
    found = _runs_of(tracking, record, experiment) if asked else []
    if found:
        return found[0]
    tags = {**record.tags, HOST_TAG: record.host, PROCESS_TAG: record.process, RECORD_TAG: record.id}
    with asked_once():
        return tracking.create_run(experiment, start_time=record.started, run_name=record.name, tags=tags)


def _known(tracking: MlflowClient, record: Record) -> Run | None:
    """Returns the run that MLflow had of the record; None if it has no trace of it any more, as after its database was
    restored. Raises MlflowException if somebody has deleted it: what they do not want is not told again."""
    try:
        known = tracking.get_run(record.run)
    except MlflowException as error:
        if not says_missing(error):
            raise
        return None
    if known.info.lifecycle_stage == LifecycleStage.DELETED:
        raise MlflowException(
            f"its run {record.run} was deleted there: restore it, or let `finetune deliver --forget {record.id}` remove"
            " the record"
        )
    return known


def _runs_of(tracking: MlflowClient, record: Record, experiment: str) -> list[Run]:
    """Returns the runs that were made of a record; two where a request that seemed lost was not."""
    made = f"tags.`{RECORD_TAG}` = '{record.id}'"
    return list(tracking.search_runs([experiment], made, ViewType.ACTIVE_ONLY, order_by=["attributes.run_id"]))


def _had(run: Run, params: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    """Whether MLflow has these of a run: names alone, because it may cut long values."""
    return params.keys() <= run.data.params.keys() and tags.keys() <= run.data.tags.keys()


def _log_params(tracking: MlflowClient, run_id: str, record: Record) -> None:
    entries = [Param(key, value) for key, value in record.params.items()]
    for start in range(0, len(entries), PARAMS_A_REQUEST):
        tracking.log_batch(run_id, params=entries[start : start + PARAMS_A_REQUEST])


def close_abandoned_runs(tracking: MlflowClient, experiment: str) -> None:
    """Marks FAILED the RUNNING runs whose process on this machine is gone (`kill -9`, power cut), but for those whose
    record waits in this home: it says how they ended."""
    waiting = set(Outbox().ids())
    mine = f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{socket.gethostname()}'"
    for run in tracking.search_runs([experiment], filter_string=mine):
        if run.data.tags.get(RECORD_TAG) in waiting or lives(run.data.tags[PROCESS_TAG]):
            continue
        set_tags(tracking, run.info.run_id, {ERROR_TAG: KILLED})
        tracking.set_terminated(run.info.run_id, "FAILED")
