"""Finds the servers that run on this machine over this home, and the addresses of their pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ValidationError

from lib.processes.identity import Process
from tasks.environment import MLFLOW_PORT, home, tracking_is_served, tracking_uri

if TYPE_CHECKING:
    import psutil

UP, UI = ".up.json", ".ui.json"  # the notes' files, in the home


class Note(BaseModel):
    """What is running. No password is in it."""

    prefect: str  # the address of Prefect's API, as PREFECT_API_URL has it
    mlflow: str  # the server's address, as MLFLOW_TRACKING_URI has it
    pages: dict[str, str]  # to be opened, by name
    over_files: bool = False  # whether runs that are told of no server are on these pages, too
    processes: list[Process] = []


def read_note(name: str) -> Note | None:
    """The last note, whether what it says is still running or not."""
    try:
        return Note.model_validate_json((home() / name).read_bytes())
    except (OSError, ValidationError):  # half of one, because the disk was full
        return None


def still_running(note: Note) -> Iterator[psutil.Process]:
    """The note's processes that have not ended, in its order."""
    return filter(None, (noted.find() for noted in note.processes))


def page_here(server: Literal["prefect", "mlflow"]) -> str | None:
    """Where a server that runs here shows the runs that are told of no server; None if there is none."""
    for note in filter(None, map(read_note, (UP, UI))):
        if note.over_files and len(list(still_running(note))) == len(note.processes):
            return (note.prefect if server == "prefect" else note.mlflow).removesuffix("/api")
    return None


def tracking_page() -> str:
    """Where MLflow's pages are, or will be once `finetune ui` runs; without a password, because it is shown."""
    if tracking_is_served():
        return tracking_uri().rstrip("/")
    return page_here("mlflow") or f"http://127.0.0.1:{MLFLOW_PORT}"
