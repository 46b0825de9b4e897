"""Gives a run from a terminal its Prefect server: the one that PREFECT_API_URL names, or a temporary one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import httpx
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from flows.run.temporary_server import temporary_server
from lib.errors import ServiceError
from lib.secrets import public
from tasks.environment import make_home, require_room
from tasks.record.mlflow_run import reason_of

ANSWER_SECONDS = 10  # within which a server that is there answers
DRAIN_SECONDS = 5  # for the logs and events that a run leaves


@contextmanager
def prefect_server() -> Iterator[None]:
    """Has a Prefect server at hand in the block; raises ServiceError if there is none, because a flow would end in a
    traceback. At the end, what is still to be told to it is told."""
    make_home()
    require_room()
    address = os.environ.get("PREFECT_API_URL")
    with temporary_server() if address is None else nullcontext():
        if address is not None:
            find_prefect(address)
        try:
            yield
        finally:
            APILogWorker.drain_all(timeout=DRAIN_SECONDS)
            EventsWorker.drain_all(timeout=DRAIN_SECONDS)


def find_prefect(address: str) -> None:
    """Asks the server once, also whether its version fits; raises ServiceError if it does not answer."""
    try:
        with (
            temporary_settings({PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": ANSWER_SECONDS}) as prefect,
        ):
            prefect.raise_for_api_version_mismatch()
    except (RuntimeError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceError(
            f"Prefect does not answer at {public(address)} ({reason_of(error)}): start that server, or"
            " correct PREFECT_API_URL, or unset it to run without a server"
        ) from None


@contextmanager
def no_heartbeats() -> Iterator[None]:
    """A flow in this block sends no heartbeats, unless the user has set how often.

    They let an automation of the server notice that a process died. Here a person does, and the end of every flow would
    wait for the thread that sends them, up to a second. Runs that a worker starts keep theirs.
    """
    if "heartbeat_frequency" in get_current_settings().flows.model_fields_set:
        yield
        return
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
