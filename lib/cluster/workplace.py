"""Where a worker on another machine finds what a part is made from, and where it leaves what it makes.

Either all machines have the run's folders at the same paths, or all of them have the run's store, which is on a server:
then inputs come through the worker's own cache, and what it writes goes into the artifact that is being made.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lib.cluster.answers import Answer, answered
from lib.cluster.seen import Note, require_seen
from lib.cluster.travel import Moved, packed, unpacked
from lib.errors import FinetuneError
from lib.store.artifacts import Artifact, File
from lib.store.store import Elsewhere

if TYPE_CHECKING:
    from lib.store.objects import ObjectStore

# Variables that name files of one machine; its own credentials are for each to have.
OF_A_MACHINE = ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
PARTS = ".parts"  # the folder on a worker's machine in which it makes what it then sends
OUT, SCRATCH = 0, 1  # the numbers of folders in which a worker writes; inputs come after them


def credentials() -> dict[str, str]:
    """Returns the variables of this process that let another machine reach a store on a server."""
    sent = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return {name: value for name, value in sent.items() if name not in OF_A_MACHINE}


@dataclass(frozen=True)
class Done:
    """What a worker answers, and the files that it has added to the artifact."""

    answer: Answer
    files: tuple[File, ...] = ()


class Workplace(Protocol):
    """What travels with each part; nothing of it may be shown, because secrets may be among it."""

    def packed(self, item: Any) -> Any:
        """Returns an item as it travels."""

    def done(self, function: Callable[[Any], Any], item: Any) -> Done:
        """Computes a packed item where this is called."""


@dataclass(frozen=True)
class SharedFolders:
    """Folders that all machines have at the same paths."""

    note: Note

    def packed(self, item: Any) -> Any:
        """Returns an item as it travels: as it is."""
        return item

    def done(self, function: Callable[[Any], Any], item: Any) -> Done:
        """Computes an item."""
        try:
            require_seen(self.note)
        except FinetuneError as error:
            return Done(Answer(error=error))
        return Done(answered(function, item))


@dataclass(frozen=True)
class SharedStore:
    """A store on a server. folders: where this run has the artifact that is made, its scratch, and the inputs.
    environment: with credentials."""

    elsewhere: Elsewhere
    inputs: tuple[Artifact, ...]
    folders: tuple[Path, ...]
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, elsewhere: Elsewhere, out: Path, scratch: Path, inputs: Sequence[Artifact]) -> SharedStore:
        """Returns what a worker needs, with the credentials of this process."""
        folders = (out, scratch, *(artifact.file("") for artifact in inputs))
        return cls(elsewhere, tuple(inputs), folders, credentials())

    def packed(self, item: Any) -> Any:
        """Returns an item as it travels."""
        return packed(item, self.folders)

    def done(self, function: Callable[[Any], Any], item: Any) -> Done:
        """Computes an item, and sends what it has written."""
        try:
            os.environ.update(self.environment)
            store = _store(self.elsewhere.address, self.elsewhere.cache_size, tuple(sorted(self.environment.items())))
            own = store.local / PARTS / f"{os.getpid()}-{uuid.uuid4().hex}"
            for name in ("out", "scratch"):
                (own / name).mkdir(parents=True)
        except (FinetuneError, OSError) as error:
            return Done(answered(_raised, error))
        try:
            answer = answered(lambda item: function(unpacked(item, lambda moved: self._place(store, own, moved))), item)
            if answer.error is not None or answer.words:
                return Done(answer)
            return Done(answer, tuple(store.receive(self.elsewhere, own / "out")))
        except FinetuneError as error:
            return Done(Answer(error=error))
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def _place(self, store: ObjectStore, own: Path, moved: Moved) -> Path:
        """Returns where a path of the run's machine is on this one; inputs are fetched."""
        if moved.folder == OUT:
            return own / "out" / moved.name
        if moved.folder == SCRATCH:
            return own / "scratch" / moved.name
        artifact = store.bound(self.inputs[moved.folder - SCRATCH - 1])
        return artifact.folder if moved.name == "." else artifact.file(moved.name)


def _raised(error: Exception) -> None:
    raise error


@lru_cache(maxsize=2)
def _store(address: str, cache_size: int, environment: tuple[tuple[str, str], ...]) -> ObjectStore:  # noqa: ARG001
    """Returns the store as this machine has it. Its cache lies where this program keeps everything here."""
    import psutil

    from lib.store.objects import ObjectStore

    home = Path(os.environ.get("FINETUNE_HOME") or "~/.finetune").expanduser().absolute()
    for folder in (home / "store" / PARTS).glob("*-*"):
        if not psutil.pid_exists(int(folder.name.partition("-")[0])):  # a worker that was killed
            shutil.rmtree(folder, ignore_errors=True)
    return ObjectStore(address, local=home / "store", cache_size=cache_size)
