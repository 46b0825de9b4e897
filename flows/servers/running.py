"""Notes which servers run on this machine, so that a second `finetune up`, and `finetune deploy`, find them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil
from filelock import FileLock

from flows.servers.processes import Server
from lib.errors import ServiceError
from lib.files.disk import write_whole
from lib.files.lock import tried
from lib.processes import keeper
from lib.processes.identity import Process
from tasks.engine.log import LOG
from tasks.environment import home, make_home
from tasks.running import UP, Note, read_note, still_running

# Where one of these is set, servers that are started here do not show what is recorded without it.
ELSEWHERE = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "DATABASE", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
LAST_SECONDS = 2 * keeper.ASK_SECONDS + 5.0  # in which a worker ends, and then the servers
LOOK_SECONDS = 1.0  # for which another process may hold the lock only to look


@contextmanager
def only_one() -> Iterator[bool]:
    """Whether this is the one `finetune up` of this home; it stays that until the block's end."""
    make_home()
    with tried(FileLock(home() / ".up.lock"), seconds=LOOK_SECONDS) as ours:
        yield ours


def over_files() -> bool:
    """Whether servers that are started here show what is recorded where no server is named."""
    return not any(os.environ.get(name) for name in ELSEWHERE)


def write(note: Note, servers: Sequence[Server], name: str = UP) -> None:
    """Keeps what is running until the next note; where that cannot be, warns, since the servers run nonetheless."""
    processes = []
    for server in servers:
        with suppress(ProcessLookupError):  # it has ended at once, which whoever watches it will see
            processes.append(Process.of(server.kept.process.pid))
    noted = note.model_copy(update={"processes": processes}).model_dump_json(indent=2)
    try:
        write_whole(home() / name, noted)
    except OSError as error:
        LOG.warning(
            "%s cannot be written (%s): these servers run, and `finetune deploy` and later runs do not find them",
            home() / name,
            error.strerror,
        )


def remove(name: str = UP) -> None:
    """Takes the note away, as far as permissions go; the processes that it names have ended."""
    with suppress(OSError):
        (home() / name).unlink()


def wait_for_the_last() -> None:
    """Waits until what a killed `finetune up` had started has ended, which it does by itself."""
    last = read_note(UP)
    _, left = psutil.wait_procs(still_running(last) if last else [], timeout=LAST_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            keeper.end([*process.children(recursive=True), process])


def running_api() -> str:
    """The address of the Prefect API that `finetune up` has started; raises ServiceError if none runs."""
    with only_one() as nobody_else:
        last = None if nobody_else else read_note(UP)
    if last is None:
        raise ServiceError(
            "no server of this project is running here: start it with `finetune up`, or set PREFECT_API_URL"
            " to one of yours"
        )
    return last.prefect
