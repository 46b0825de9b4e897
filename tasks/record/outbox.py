"""The outbox: what the store does not have of a run, in one small file each, until the tracking server has it all.

`$FINETUNE_HOME/outbox/<record>.json` is written durably when a run begins, when its id in MLflow is known, when its
steps are done and when it ends; it is removed once all of it is delivered. `<record>.lock` is held while the run, or
whoever delivers its record, works with it.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from lib.errors import StoreError
from lib.files.disk import into_place, remove
from lib.files.lock import tried
from lib.files.sealed import sealed, unsealed
from lib.processes.identity import lives, this_process
from lib.secrets import public
from lib.store.artifacts import Artifact
from tasks.environment import home, local_tracking_uri, tracking_uri
from tasks.running import UI, UP, read_note, still_running
from tasks.store import artifact_store

KILLED = "the process was killed"
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]  # MLflow's words


class Made(BaseModel):
    """An artifact of a run, as the store finds it."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    digest: str


def made_of(artifacts: Iterable[Artifact]) -> list[Made]:
    """Returns what a record names of artifacts."""
    return [Made(step=each.step, key=each.key, digest=each.digest) for each in artifacts]


class Record(BaseModel):
    """What is known of a run besides its artifacts. Times are milliseconds since 1970; no address has its password."""

    model_config = ConfigDict(frozen=True)

    id: str  # made on this machine
    server: str  # where MLflow records it; empty: the home's own file
    registry: str  # where its model is registered, if not there
    experiment: str
    name: str
    host: str
    process: str  # its name, which is told from all others, as `lib.processes.identity` has it
    started: int
    params: dict[str, str]
    tags: dict[str, str]
    recipe: dict[str, Any] | None = None  # as JSON; None: the run has none
    run: str = ""  # its id in MLflow; empty: MLflow does not have it yet
    made: list[Made] | None = None  # by its steps, in their order; None: they are not done
    computed: list[str] = []  # the steps that did not only find their artifact, or will not
    measured: int | None = None  # when the steps were done
    tried: int = 0  # how often somebody else than its run has begun to deliver it
    half_published: bool = False  # whether MLflow failed while its model was registered
    metrics: dict[str, float] = {}  # that are in no artifact
    told: dict[str, str] = {}  # more tags, which the run came to
    status: Status = "RUNNING"
    ended: int | None = None
    error: str = ""

    @property
    def shown_id(self) -> str:
        """What artifacts and pages call the run: MLflow's id, or the record's until there is one."""
        return self.run or self.id

    @property
    def alive(self) -> bool:
        """Whether the run goes on in a process of this machine."""
        return self.status == "RUNNING" and lives(self.process)


def new_record(
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    recipe: Mapping[str, Any] | None = None,
) -> Record:
    """Returns the record of a run that begins in this process now, and goes to the present servers."""
    server, registry = servers()
    return Record(
        id=uuid.uuid4().hex,
        server=server,
        registry=registry,
        experiment=experiment,
        name=name,
        host=socket.gethostname(),
        process=this_process().name,
        started=now(),
        params={key: str(value) for key, value in params.items()},
        tags=dict(tags),
        recipe=None if recipe is None else dict(recipe),
    )


def now() -> int:
    """Returns the time as MLflow notes it, in milliseconds since 1970."""
    return int(time.time() * 1000)


def servers() -> tuple[str, str]:
    """Returns where runs are recorded and where models are registered at present, as records note it. A server that
    `finetune up` or `ui` has started over the home's own file is that file: it may be gone later, or elsewhere."""
    uri = tracking_uri()
    server = "" if uri == local_tracking_uri() or _is_over_file(uri) else public(uri)
    return server, public(os.environ.get("MLFLOW_REGISTRY_URI") or "")


def _is_over_file(uri: str) -> bool:
    notes = [note for note in map(read_note, (UP, UI)) if note is not None and note.over_files]
    return any(note.mlflow == uri.rstrip("/") and any(still_running(note)) for note in notes)


class Outbox:
    """The records of a home that are not delivered yet."""

    @cached_property
    def folder(self) -> Path:
        return home() / "outbox"

    def save(self, record: Record) -> None:
        """Writes a record durably. Raises StoreError if the disk is full, and OSError if it cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._part(record.id)
        part.write_text(sealed(record.model_dump_json()), encoding="utf-8")
        into_place(part, self._file(record.id))

    def read(self, record: str) -> Record | None:
        """Returns a record by its id; None if it was delivered. Raises StoreError if its file is damaged, or cannot be
        read."""
        file = self._file(record)
        try:
            return Record.model_validate_json(unsealed(file.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"{file} cannot be read ({error.strerror}), so MLflow is not told of that run: let it be read"
            ) from None
        except ValueError:  # also pydantic's
            raise StoreError(
                f"{file} is damaged: MLflow will not show that run as it ended; remove the file, and run the recipe"
                " again, which takes its artifacts from the store and records them"
            ) from None

    def ids(self) -> list[str]:
        """Returns the ids of all records, without reading them. Raises StoreError if the folder cannot be read, which
        does not mean that it is empty."""
        try:
            files = list(self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            if isinstance(error, NotADirectoryError) and not self.folder.exists():
                return []  # the home itself is no folder
            raise StoreError(
                f"{self.folder} cannot be read ({error.strerror}), and records may wait in it: let it be read"
            ) from None
        return sorted(file.stem for file in files if file.suffix == ".json" and file.name[0] != ".")

    def records(self) -> tuple[list[Record], list[StoreError]]:
        """Returns all records, the oldest first, those of running processes among them; and what is damaged."""
        found, damaged = [], []
        for each in self.ids():
            try:
                record = self.read(each)
            except StoreError as error:
                damaged.append(error)
                continue
            if record is not None:
                found.append(record)
        return sorted(found, key=lambda record: (record.started, record.id)), damaged

    def references(self) -> set[tuple[str, str]]:
        """Returns step and digest of the artifacts that records name. Raises StoreError if a record cannot be read."""
        records, damaged = self.records()
        if damaged:
            raise damaged[0]
        return {(made.step, made.digest) for record in records for made in record.made or ()}

    def remove(self, record: str) -> None:
        """Removes a record that is delivered; its lock is held by the caller."""
        for file in (self._file(record), self._part(record), self._lock_file(record)):
            file.unlink(missing_ok=True)

    def forget(self, record: str) -> None:
        """Removes a record that nobody wants delivered, whatever is wrong with it. Raises StoreError if there is none,
        if somebody works with it, or if it may not be removed."""
        if record not in self.ids():
            raise StoreError(f"no record {record!r} waits in {self.folder}: `finetune deliver` names those that do")
        file = self._file(record)
        with tried(self.lock(record)) as free:
            if not free:
                raise StoreError(f"the run of {file} goes on, or another process delivers it: wait until that ends")
            remove(file)
            if file.exists():
                raise StoreError(f"{file} cannot be removed: remove it as the user that it belongs to")
            self.remove(record)

    def sweep(self) -> None:
        """Removes what killed processes left of records that they had just begun, or had delivered."""
        for file in self.folder.glob(".*.lock"):
            record = file.stem.removeprefix(".")
            with suppress(OSError), tried(self.lock(record)) as free:  # what is no lock, or another user's, stays
                if free and not self._file(record).exists():
                    self.remove(record)

    def lock(self, record: str) -> FileLock:
        """Returns a record's lock, not acquired yet; it ends with its process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._lock_file(record), thread_local=False)

    @contextmanager
    def taken(self, record: str) -> Iterator[Record | None]:
        """Yields a record that nobody else works with, as it is now; None if somebody does, or it was delivered."""
        with tried(self.lock(record)) as free:
            found = self.read(record) if free else None
            if free and found is None:
                self._lock_file(record).unlink(missing_ok=True)  # which asking for it created
            yield None if found is None or found.alive else found

    def _file(self, record: str) -> Path:
        return self.folder / f"{record}.json"

    def _part(self, record: str) -> Path:
        return self.folder / f".{record}.part"

    def _lock_file(self, record: str) -> Path:
        return self.folder / f".{record}.lock"


def artifacts_of(record: Record) -> dict[str, Artifact]:
    """Returns a record's artifacts from the store, by step; raises StoreError if one is missing or damaged."""
    store = artifact_store()
    found: dict[str, Artifact] = {}
    for made in record.made or ():
        artifact = store.find(made.step, made.key)
        if artifact is None or artifact.digest != made.digest:
            raise StoreError(
                f"the artifact {made.step}/{made.key} of run {record.name!r} is not in the store, or is damaged: run"
                " its recipe again, which makes it again"
            )
        found[made.step] = artifact
    return found
