"""Gives a run from a terminal its Prefect server: the one that PREFECT_API_URL names, or a temporary one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from filelock import FileLock
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from lib.errors import ServiceError
from lib.secrets import public
from tasks.environment import home, make_home, require_room
from tasks.record.mlflow_run import reason_of

ANSWER_SECONDS = 10  # within which a server that is there answers


def find_or_start_prefect() -> None:
    """Makes sure that a Prefect server answers; raises ServiceError if not, because a flow would end in a traceback."""
    make_home()
    require_room()
    address = os.environ.get("PREFECT_API_URL")
    if address:
        find_prefect(address)
    else:
        _start()


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


def _start() -> None:
    """Starts the temporary server that this process's flow will use, one process at a time. Two servers that create the
    tables of one new database at once would collide."""
    try:
        with FileLock(home() / ".prefect.lock"), _interrupts_kept_from_children():
            get_client(sync_client=True)
    except RuntimeError as error:
        raise ServiceError(
            f"Prefect's temporary server did not start ({error}): see that {home() / 'prefect'} can be written, or"
            " start a server (`make ui`) and set PREFECT_API_URL"
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


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """A process that is started here does not see Ctrl-C.

    A terminal sends it to all processes; the server would end first, and the run would wait for it to hear that the run
    has ended. A blocked signal stays blocked in a child, whatever the child's handlers are.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
