"""Notes which runs Prefect's server takes for running, and tells it later how those ended that could not do so.

A note is a file in `$FINETUNE_HOME/prefect-runs/` from when a run begins until the server knows its end. A process that
was killed leaves one, and so does a run whose server was gone; the next run that has the same server tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from pydantic import BaseModel

from lib.files.disk import write_whole
from lib.files.sealed import sealed, set_aside, unsealed
from lib.processes.identity import Process, this_process
from lib.secrets import public
from tasks.engine.log import LOG
from tasks.environment import home

FOLDER = "prefect-runs"  # in the home
KILLED = "Its process was killed: the same command goes on from what is in the store"


class Unfinished(BaseModel):
    """A flow run that the server at `api` ("" for the temporary one) takes for running."""

    flow_run: UUID
    api: str
    process: Process  # that runs it
    state: StateType = StateType.CRASHED  # as which it ended
    message: str = KILLED
    ended: bool = False  # whether it has, and only the server does not know

    @property
    def file(self) -> Path:
        """Where it is noted."""
        return home() / FOLDER / f"{self.flow_run}.json"

    def save(self) -> None:
        """Keeps it; where that is not possible, the page stays wrong, and the run goes on."""
        with suppress(OSError):
            self.file.parent.mkdir(exist_ok=True)
            write_whole(self.file, sealed(self.model_dump_json()))

    def end(self, error: Exception | None) -> None:
        """Notes how it ended."""
        state = StateType.COMPLETED if error is None else StateType.FAILED
        message = "All states completed." if error is None else f"{error}"
        self.model_copy(update={"state": state, "message": message, "ended": True}).save()

    def forget(self) -> None:
        """Removes the note: the server knows."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)


def begun(flow_run: str, api: str) -> Unfinished:
    """Notes a run of this process."""
    noted = Unfinished(flow_run=UUID(flow_run), api=public(api), process=this_process())
    noted.save()
    return noted


def tell_ends(prefect: SyncPrefectClient, api: str) -> None:
    """Tells the server at `api` of the runs that have ended without its knowledge; what it does not take stays, and so
    does what runs on another machine, in a home that both have or that one is a copy of."""
    for noted in all_noted():
        if noted.api != public(api) or not (noted.ended or noted.process.is_gone):
            continue
        try:
            _tell(prefect, noted)
        except httpx.TransportError:  # it would be waited for with each note
            return
        except (httpx.HTTPError, PrefectException):
            continue
        noted.forget()


def _tell(prefect: SyncPrefectClient, noted: Unfinished) -> None:
    with suppress(ObjectNotFound):  # somebody has deleted the run, or the database
        known = prefect.read_flow_run(noted.flow_run)
        if known.state is None or not known.state.is_final():
            state: State[None] = State(type=noted.state, message=noted.message)
            prefect.set_flow_run_state(noted.flow_run, state, force=True)


def all_noted() -> Iterator[Unfinished]:
    """Yields all notes; damaged ones are set aside, with a warning. What cannot be read now, or is another user's, or
    was taken away by another run, is left as it is."""
    for file in sorted((home() / FOLDER).glob("*.json")):
        with suppress(OSError):
            try:
                noted = _note(file.read_bytes())
            except (ValueError, IsADirectoryError):
                LOG.warning(
                    "%s was damaged and is %s now: if Prefect's page shows that run as running, cancel it there",
                    file,
                    set_aside(file).name,
                )
                continue
            yield noted


def _note(content: bytes) -> Unfinished:
    try:
        text: str | bytes = unsealed(content)
    except ValueError:
        text = content  # of before notes had a checksum, or damaged
    return Unfinished.model_validate_json(text)
