"""Gives a run from a terminal its Prefect server: the one that PREFECT_API_URL names, or a temporary one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from http import HTTPStatus
from queue import Empty
from typing import TypeVar

import httpx
from prefect.client.orchestration import get_client
from prefect.events.clients import PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectException
from prefect.logging.handlers import APILogWorker
from prefect.settings import get_current_settings

from flows.run.temporary_server import temporary_server
from flows.run.unfinished import Unfinished, begun, tell_ends
from lib.errors import ServiceError
from lib.secrets import public
from tasks.engine.pageless import ANSWER_SECONDS, Outcome, impatient, outcome_noted
from tasks.engine.settings import changed_settings
from tasks.environment import make_home, require_room
from tasks.record.mlflow_run import reason_of

T = TypeVar("T")
# What Prefect's client raises where the server is gone: the last two where something else answers in its place.
GONE = (httpx.HTTPError, PrefectException, RuntimeError, ValueError)
BUSY_SECONDS = (1, 5, 10)  # before a flow is begun again
DRAIN_SECONDS = 5  # for the logs and events that a run leaves


@contextmanager
def prefect_server() -> Iterator[None]:
    """Has a Prefect server at hand in the block; raises ServiceError if there is none, because a flow would end in a
    traceback. At the end, what is still to be told to it is told."""
    make_home()
    require_room()
    address = os.environ.get("PREFECT_API_URL")
    with temporary_server() if address is None else nullcontext(address) as api, impatient():
        if address is not None:
            find_prefect(address)
        try:
            with get_client(sync_client=True) as prefect:
                tell_ends(prefect, address or "")
        except GONE as error:
            raise _lost_at_once(address or "", error) from None
        # The class itself: Prefect sends nothing by one that is derived from it.
        EventsWorker.set_client_override(PrefectEventsClient, api_url=api, reconnection_attempts=1)
        # They keep the settings with which they began.
        services = (APILogWorker.instance(), EventsWorker.instance())
        try:
            yield
        finally:
            for service in services:
                type(service).drain_all(timeout=DRAIN_SECONDS)
                _give_up(service)
            EventsWorker.set_client_override(None)


def _give_up(service: APILogWorker | EventsWorker) -> None:
    """Drops what a service has not sent: the process would not end before it has tried with each piece of it."""
    with suppress(Empty):
        while True:
            service._queue.get_nowait()
    service._queue.put(None)  # which ends it


def find_prefect(address: str) -> None:
    """Asks the server once, also whether its version fits; raises ServiceError if it does not answer."""
    try:
        with (
            changed_settings(api={"url": address}, client={"max_retries": 0}),
            get_client(sync_client=True, httpx_settings={"timeout": ANSWER_SECONDS}) as prefect,
        ):
            prefect.raise_for_api_version_mismatch()
    except (RuntimeError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceError(
            f"Prefect does not answer at {public(address)} ({reason_of(error)}): start that server, or"
            " correct PREFECT_API_URL, or unset it to run without a server"
        ) from None


def run_beside_prefect(call: Callable[[], T], warn: Callable[[str], None]) -> T:
    """Calls a flow and returns what it returns; where Prefect's server is lost on the way, its work goes on, and `warn`
    is told so at the end.

    Raises what the flow's work raises, and ServiceError if the server is lost before that has begun.
    """
    api = os.environ.get("PREFECT_API_URL", "")
    notes: list[Unfinished] = []
    with outcome_noted(lambda flow_run: notes.append(begun(flow_run, api))) as outcome:
        try:
            result = _called(call, outcome)
        except Exception as error:
            if not outcome.ended:
                raise _lost_at_once(api, error) if isinstance(error, GONE) else error  # noqa: B904
            if error is not outcome.error:
                outcome.lost = error
            result = outcome.result
        for note in notes:
            if outcome.lost is None:
                note.forget()
            else:
                note.end(outcome.error)
    if outcome.lost is not None:
        where = public(api) or "the temporary server"
        warn(f"Prefect's page of this run is incomplete: {where} was lost on the way ({reason_of(outcome.lost)})")
    if outcome.error is not None:
        raise outcome.error
    return result


def _called(call: Callable[[], T], outcome: Outcome) -> T:
    """Calls a flow, again where Prefect's server is too busy to begin it: several runs at once make SQLite that."""
    for seconds in BUSY_SECONDS:
        try:
            return call()
        except httpx.HTTPStatusError as error:
            if outcome.ended or error.response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            time.sleep(seconds)
    return call()


def _lost_at_once(api: str, error: Exception) -> ServiceError:
    where = f"at {public(api)} " if api else ""
    return ServiceError(
        f"Prefect's server {where}was lost before the run had begun ({reason_of(error)}): see that it works, and run"
        " again"
    )


@contextmanager
def no_heartbeats() -> Iterator[None]:
    """A flow in this block sends no heartbeats, unless the user has set how often.

    They let an automation of the server notice that a process died. Here a person does, and the end of every flow would
    wait for the thread that sends them, up to a second. Runs that a worker starts keep theirs.
    """
    if "heartbeat_frequency" in get_current_settings().flows.model_fields_set:
        yield
        return
    with changed_settings(flows={"heartbeat_frequency": None}):
        yield
