"""Which servers `make up` has running on this machine, so that a second one, and `make deploy`, find them.

A lock that dies with its process says that one runs; a note beside it has the addresses, and the processes, so that
those that a killed one has left can be found. Starting and stopping is the business of `flows.up`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from flows.servers.processes import Server
from lib.errors import ServiceError
from tasks.environment import home, make_home

LOOK_SECONDS = 1.0  # for which another process may hold the lock only to look
SAME_START = 0.1  # seconds between two readings of when one process began


class Process(BaseModel):
    """A process, to be told from a later one that has got its number."""

    pid: int
    created: float  # seconds since 1970


class Note(BaseModel):
    """What is running. No password is in it."""

    prefect: str  # the address of Prefect's API, as PREFECT_API_URL has it
    mlflow: str  # the server's address, as MLFLOW_TRACKING_URI has it
    pages: dict[str, str]  # to be opened, by name
    processes: list[Process] = []


def note_file() -> Path:
    """Where the note lies."""
    return home() / ".up.json"


@contextmanager
def only_one() -> Iterator[bool]:
    """Whether this is the one `make up` of this home; it stays that until the block's end."""
    make_home()
    lock = FileLock(home() / ".up.lock")
    try:
        lock.acquire(timeout=LOOK_SECONDS)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def write(note: Note, servers: Sequence[Server]) -> None:
    """Keeps what is running until the next note."""
    started = [psutil.Process(server.process.pid) for server in servers]
    processes = [Process(pid=process.pid, created=process.create_time()) for process in started]
    note_file().write_text(note.model_copy(update={"processes": processes}).model_dump_json(indent=2), encoding="utf-8")


def read() -> Note | None:
    """The last note, whether what it says is still running or not."""
    try:
        return Note.model_validate_json(note_file().read_bytes())
    except (FileNotFoundError, ValidationError):  # half of one, because the disk was full
        return None


def left_behind() -> list[psutil.Process]:
    """The processes of a `make up` that was killed, those that it started last first."""
    found: list[psutil.Process] = []
    last = read()
    for noted in reversed(last.processes if last else []):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(noted.pid)
            if abs(process.create_time() - noted.created) < SAME_START:
                found.append(process)
    return found


def running_api() -> str:
    """The address of the Prefect API that `make up` has started; raises ServiceError if none runs."""
    with only_one() as nobody_else:
        last = None if nobody_else else read()
    if last is None:
        raise ServiceError(
            "no server of this project is running here: start it with `make up`, or set PREFECT_API_URL to one of yours"
        )
    return last.prefect
