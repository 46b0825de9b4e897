"""What every artifact store does, wherever it keeps its artifacts: `lib.store.folder` and `lib.store.objects` are two.
What becomes of a finished folder is the same in all, and stands here.

A reader sees all of an artifact or nothing. One that is whole is never changed; a damaged one is replaced by whoever
makes it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from lib.files.lock import Lock
from lib.store.artifacts import Artifact, File, Manifest, digest_of, inventory, versions

Key = tuple[str, str]  # step and key
Reference = tuple[str, str]  # step and digest, as later artifacts refer to it


@dataclass(frozen=True)
class Thing:
    """Something in a store that can be removed, as a whole. name: its place in the store. size: bytes."""

    name: str
    size: int
    remove: Callable[[], None]


@dataclass(frozen=True)
class Elsewhere:
    """Where other machines add files to an artifact that is being made: a folder of a store on a server. parts: its
    name. cache_size: bytes of what they keep of what they read."""

    address: str
    step: str
    key: str
    parts: str
    cache_size: int


@dataclass(frozen=True)
class Making:
    """A folder to fill. publish: makes what is in it the artifact with this manifest.

    elsewhere: where other machines add files; None: into the same folder, if they see it. added: those files.
    """

    folder: Path
    publish: Callable[[Manifest], None]
    elsewhere: Elsewhere | None = None
    added: dict[str, File] = field(default_factory=dict)  # by name

    def add(self, files: Iterable[File]) -> None:
        """Takes note of files that other machines have added."""
        self.added.update((file.name, file) for file in files)

    def inventory(self, noted: tuple[str, ...]) -> list[File]:
        """Returns all files, by name."""
        added = (file.model_copy(update={"noted": file.name in noted}) for file in self.added.values())
        return sorted([*inventory(self.folder, noted), *added], key=lambda file: file.name)


@dataclass(frozen=True)
class Lying:
    """An artifact as it lies in a store, damaged or not. size: bytes, with its manifest. changed: UTC."""

    size: int
    changed: datetime


class Store(Protocol):
    """Artifacts by step and key. `warn` gets one sentence for each damaged one that is come upon."""

    warn: Callable[[str], None]

    @property
    def place(self) -> str:
        """Where it is, as a person names it."""

    @property
    def local(self) -> Path:
        """The folder on this machine for what is no artifact: scratch, locks, notes for Prefect."""

    @property
    def parallel(self) -> int:
        """How many of its artifacts are best looked at side by side."""

    # -- reading --

    def find(self, step: str, key: str) -> Artifact | None:
        """Returns the undamaged artifact with this key, or None; a damaged one is reported through `warn`."""

    def bound(self, artifact: Artifact) -> Artifact:
        """Returns an artifact that came out of a result with a way to its files; one that has a way keeps it."""

    def manifest(self, step: str, key: str) -> Manifest:
        """Reads a manifest; raises StoreError if it is missing or damaged."""

    def manifests(self, step: str | None = None) -> Iterator[Manifest]:
        """Yields the manifests of all readable artifacts (of one step), oldest first."""

    def problems(self, step: str, key: str) -> list[str]:
        """Reads all files of an artifact; returns a phrase for each problem."""

    def fetch(self, step: str, key: str, folder: Path) -> None:
        """Writes the files of an artifact into a folder; raises StoreError if they are not those of its manifest."""

    # -- writing --

    def lock(self, step: str, key: str) -> Lock:
        """Returns the lock of a key, not acquired yet; it ends with its process."""

    def scratch(self, step: str, key: str) -> Path:
        """Returns a folder for what an interrupted step resumes from; publishing the artifact removes it."""

    def remove_scratch(self, step: str, key: str) -> None:
        """Removes what an interrupted step would resume from."""

    def making(self, step: str, key: str, ingredients: Mapping[str, Any]) -> AbstractContextManager[Making]:
        """Yields a new folder of this machine for an artifact of these ingredients, which is removed at the end."""

    @contextmanager
    def write(
        self,
        step: str,
        key: str,
        ingredients: Mapping[str, Any],
        *,
        noted: tuple[str, ...] = (),
        notes: Mapping[str, str] | None = None,
    ) -> Iterator[Path]:
        """Yields a folder to fill, which becomes the artifact at the end of the block; otherwise as `writing`."""
        with self.writing(step, key, ingredients, noted=noted, notes=notes) as making:
            yield making.folder

    @contextmanager
    def writing(
        self,
        step: str,
        key: str,
        ingredients: Mapping[str, Any],
        *,
        noted: tuple[str, ...] = (),
        notes: Mapping[str, str] | None = None,
    ) -> Iterator[Making]:
        """Yields what becomes the artifact at the end of the block, and is removed after an exception.

        The caller holds the key's lock, so that no other process computes the same artifact. `noted` files stay out of
        the digest; `notes` go into the manifest only. Raises StoreError if the disk is full.
        """
        started = time.monotonic()
        with self.making(step, key, ingredients) as making:
            yield making
            files = making.inventory(noted)
            making.publish(
                Manifest(
                    step=step,
                    key=key,
                    digest=digest_of(files),
                    files=files,
                    ingredients=dict(ingredients),
                    notes=dict(notes or {}),
                    versions=dict(versions()),
                    created=datetime.now(UTC),
                    seconds=round(time.monotonic() - started, 3),
                )
            )
        self.remove_scratch(step, key)

    @contextmanager
    def copying(self, manifest: Manifest) -> Iterator[Path]:
        """Yields a folder to fill with the files of another store's artifact, which keeps its manifest here."""
        with self.making(manifest.step, manifest.key, manifest.ingredients) as making:
            yield making.folder
            making.publish(manifest)

    # -- housekeeping: see `lib.store.housekeeping` --

    def keys(self) -> list[Key]:
        """The artifacts that lie here, damaged or not, by step and key."""

    def lying(self, step: str, key: str) -> Lying | None:
        """An artifact as it lies here; None: not any more."""

    def size(self) -> int:
        """Bytes of all that is here."""

    def held(self) -> set[Key]:
        """The keys that running processes have locked."""

    def inputs_in_work(self, held: set[Key]) -> Iterator[Reference]:
        """Yields the inputs of the artifacts that running processes are making."""

    def things(self, step: str, key: str) -> list[Thing]:
        """An artifact, and what is kept because of it."""

    def unfinished(self) -> list[Key]:
        """The keys of which something other than an artifact lies here."""

    def stale(self, step: str, key: str, age: timedelta, now: datetime) -> list[Thing]:
        """What dead writers left of a key that nobody else holds, and scratch that has not changed for `age`."""

    def clear_locks(self) -> None:
        """Removes locks that nobody holds."""
