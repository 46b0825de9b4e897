"""A store in a folder: an artifact lies at `<store>/<step>/<key>/`, its files and a `manifest.json`.

It is written to a hidden folder and renamed, so that a reader sees all of it or nothing. `.locks/` has a file for each
key in use; `.scratch/<step>/<key>/` holds what an interrupted step resumes from, such as partial downloads and
checkpoints; `.results/` Prefect's notes.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.errors import StoreError
from lib.files.checksum import SEAL, file_problem, seal_holds, sealed
from lib.files.disk import disk_full_is_clear, remove, sync
from lib.files.jsonfile import read_strange_json, save_json
from lib.files.lock import Lock, tried
from lib.files.usage import bytes_in, last_change
from lib.store.artifacts import KEY_LENGTH, MANIFEST, Artifact, Manifest
from lib.store.store import Key, Lying, Making, Reference, Store, Thing

KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
UNFINISHED = re.compile(rf"\.?({KEY.pattern})(-.+)?")  # with a dot: being written or removed


class FolderStore(Store):
    """A folder of artifacts; `warn` gets one sentence for each damaged artifact."""

    parallel = 1

    def __init__(self, root: Path, warn: Callable[[str], None] = lambda sentence: None) -> None:
        self.root = root
        self.warn = warn

    @property
    def place(self) -> str:
        """Its path."""
        return str(self.root)

    @property
    def local(self) -> Path:
        """The same folder."""
        return self.root

    # -- reading --

    def find(self, step: str, key: str) -> Artifact | None:
        """Returns the undamaged artifact with this key, or None; a damaged one is reported through `warn`."""
        if not (self.root / step / key).exists():
            return None
        problems = self.problems(step, key)
        if problems:
            self.warn(f"the artifact {step}/{key} is damaged and will be made again: {'; '.join(problems)}")
            return None
        artifact = self.bound(self.manifest(step, key).artifact)
        self.remove_scratch(step, key)  # of a process that was killed once the artifact was in its place
        return artifact

    def bound(self, artifact: Artifact) -> Artifact:
        """Returns an artifact with its files where this store has them, unless it has a way to them already."""
        if artifact.is_bound:
            return artifact
        return artifact.in_folder(self.root / artifact.step / artifact.key)

    def manifest(self, step: str, key: str) -> Manifest:
        """Reads a manifest; raises StoreError if it is missing or damaged."""
        file = self.root / step / key / MANIFEST
        try:
            content = read_strange_json(file)
            if SEAL in content and not seal_holds(content):  # one from before it had a seal tells its provenance still
                raise ValueError("it was changed")
            return Manifest.model_validate(content)
        except OSError as error:
            raise StoreError(f"{file} cannot be read ({error.strerror}): the artifact must be made again") from None
        except (ValueError, TypeError):
            raise StoreError(f"{file} is damaged: the artifact must be made again") from None

    def manifests(self, step: str | None = None) -> Iterator[Manifest]:
        """Yields the manifests of all readable artifacts (of one step), oldest first."""
        folders = [self.root / step] if step else sorted(self.root.glob("[!.]*"))
        found = []
        for file in (file for folder in folders for file in folder.glob(f"[!.]*/{MANIFEST}")):
            try:
                found.append(self.manifest(file.parent.parent.name, file.parent.name))
            except StoreError as error:
                self.warn(str(error))
        yield from sorted(found, key=lambda manifest: (manifest.created, manifest.step, manifest.key))

    def problems(self, step: str, key: str) -> list[str]:
        """Returns a phrase for each problem with an artifact's files."""
        try:
            manifest = self.manifest(step, key)
        except StoreError:
            return [f"{MANIFEST} is missing or damaged"]
        folder = self.root / step / key
        phrases = [file_problem(folder / file.name, file.name, file.size, file.sha256) for file in manifest.files]
        if not manifest.belongs_to(step, key):
            phrases.append(f"{MANIFEST} does not belong to these files")
        return [phrase for phrase in phrases if phrase]

    def fetch(self, step: str, key: str, folder: Path) -> None:
        """Copies the files of an artifact into a folder; raises StoreError if they are not those of its manifest."""
        source = self.root / step / key
        for file in self.manifest(step, key).files:
            copy = folder / file.name
            try:
                with disk_full_is_clear(folder):
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source / file.name, copy)
            except OSError as error:
                problem = f"{file.name} cannot be read ({error.strerror})"
            else:
                problem = file_problem(copy, file.name, file.size, file.sha256)
            if problem:
                raise _damaged(step, key, self.place, problem)

    # -- writing --

    def lock(self, step: str, key: str) -> Lock:
        """Returns the lock of a key, not acquired yet; as a `flock` it ends with its process."""
        return self.file_lock(step, key)

    def file_lock(self, step: str, key: str) -> FileLock:
        """Returns the lock as what it is here."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{step}-{key}", thread_local=False)

    def scratch(self, step: str, key: str) -> Path:
        """Returns a folder for what an interrupted step resumes from; publishing the artifact removes it."""
        folder = self.root / ".scratch" / step / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def remove_scratch(self, step: str, key: str) -> None:
        """Removes what an interrupted step would resume from."""
        shutil.rmtree(self.root / ".scratch" / step / key, ignore_errors=True)

    @contextmanager
    def making(self, step: str, key: str, ingredients: Mapping[str, Any]) -> Iterator[Making]:
        """Yields a hidden folder of its own, removed at the end, in which an artifact of these ingredients is made."""
        home = self.root / step
        with disk_full_is_clear(self.root):
            home.mkdir(parents=True, exist_ok=True)
        for leftover in home.glob(f".{key}-*"):  # of a killed process: the caller holds the key's lock
            remove(leftover)
        folder = home / f".{key}-{uuid.uuid4().hex[:8]}"
        try:
            with disk_full_is_clear(self.root):
                folder.mkdir()
                # Until the real manifest replaces it, this tells housekeeping which inputs are in use.
                (folder / MANIFEST).write_text(json.dumps({"ingredients": dict(ingredients)}), encoding="utf-8")
                yield Making(folder, partial(self._publish, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, folder: Path, manifest: Manifest) -> None:
        save_json(sealed(manifest.model_dump(mode="json")), folder / MANIFEST)
        for path in folder.rglob("*"):
            sync(path)
        sync(folder)
        final = self.root / manifest.step / manifest.key
        if final.exists():
            if not self.problems(manifest.step, manifest.key):
                return
            # Renamed before it is removed, so that a crash leaves no artifact rather than half of one.
            remove(final.rename(folder.with_name(f"{folder.name}-damaged")))
        folder.rename(final)
        sync(final.parent)

    # -- housekeeping --

    def keys(self) -> list[Key]:
        """The artifacts that lie here, ignoring names that are not the store's."""
        folders = (folder for folder in sorted(self.root.glob("[!.]*/*")) if KEY.fullmatch(folder.name))
        return [(folder.parent.name, folder.name) for folder in folders if folder.is_dir()]

    def lying(self, step: str, key: str) -> Lying | None:
        """An artifact as it lies here; None: not any more."""
        folder = self.root / step / key
        lying = Lying(bytes_in(folder), last_change(folder))
        return lying if folder.exists() else None

    def size(self) -> int:
        """Bytes of all that is here."""
        return bytes_in(self.root)

    def held(self) -> set[Key]:
        """The keys that running processes have locked."""
        held = set()
        for step, key in self._locks():
            with tried(self.lock(step, key)) as ours:
                if not ours:
                    held.add((step, key))
        return held

    def inputs_in_work(self, held: set[Key]) -> Iterator[Reference]:
        """Yields the inputs of the artifacts that running processes are making."""
        for folder in self.root.glob("[!.]*/.*"):
            name = UNFINISHED.fullmatch(folder.name)
            if name and (folder.parent.name, name[1]) in held:
                try:
                    written = json.loads((folder / MANIFEST).read_bytes())
                except (OSError, ValueError):
                    continue  # just begun or finished
                yield from written["ingredients"].get("inputs", {}).items()

    def things(self, step: str, key: str) -> list[Thing]:
        """An artifact, and Prefect's record of it."""
        return [self._thing(self.root / step / key), self.record(step, key)]

    def record(self, step: str, key: str) -> Thing:
        """Prefect's record of an artifact."""
        return self._thing(self.root / ".results" / step / key)

    def unfinished(self, there: Collection[Key] | None = None) -> list[Key]:
        """The keys that have a hidden folder, scratch, or a record without its artifact. there: the artifacts that
        exist, where others than those of this folder count."""
        there = set(self.keys()) if there is None else there
        records = (file for file in self.root.glob(".results/*/*") if KEY.fullmatch(file.name))
        alone = (file for file in records if (file.parent.name, file.name) not in there)
        places = (*self.root.glob("[!.]*/.*"), *self.root.glob(".scratch/*/*"), *alone)
        names = ((place.parent.name, UNFINISHED.fullmatch(place.name)) for place in places)
        return sorted({(step, name[1]) for step, name in names if name})

    def stale(self, step: str, key: str, age: timedelta, now: datetime, *, there: bool | None = None) -> list[Thing]:
        """The folders of dead writers, scratch unchanged for `age`, and the record of an artifact that is not
        `there` (None: not in this folder)."""
        there = (self.root / step / key).exists() if there is None else there
        homes = (self.root / step, self.root / ".scratch" / step)
        scratch, record = self.root / ".scratch" / step / key, self.root / ".results" / step / key
        found = [folder for home in homes for folder in sorted(home.glob(f".{key}-*"))]
        if scratch.is_dir() and last_change(scratch) < now - age:
            found.append(scratch)
        if record.exists() and not there:
            found.append(record)
        return [self._thing(place) for place in found]

    def size_beside(self) -> int:
        """Bytes of what is no artifact: records, scratch, folders of writers."""
        places = (self.root / ".results", self.root / ".scratch", *self.root.glob("[!.]*/.*"))
        return sum(bytes_in(place) for place in places)

    def clear_locks(self) -> None:
        """Removes lock files that nobody holds. If a process has opened one and is about to lock it, `filelock` (since
        3.21) notices that the file was removed and makes another, so that two processes never hold the same key."""
        for step, key in self._locks():
            with tried(self.lock(step, key)) as ours:
                if ours:
                    (self.root / ".locks" / f"{step}-{key}").unlink()

    def _locks(self) -> list[Key]:
        """Returns the keys of all lock files, held or not."""
        names = [file.name.rpartition("-") for file in sorted((self.root / ".locks").glob("*-*"))]
        return [(step, key) for step, _, key in names if KEY.fullmatch(key)]

    def _thing(self, path: Path) -> Thing:
        return Thing(path.relative_to(self.root).as_posix(), bytes_in(path), partial(_remove_hidden, path))


def _damaged(step: str, key: str, place: str, problem: str) -> StoreError:
    return StoreError(f"the artifact {step}/{key} of {place} is damaged and must be made again: {problem}")


def _remove_hidden(path: Path) -> None:
    """Hides a folder before deleting it, so that no reader sees a part of it under its name."""
    if path.is_dir():
        shutil.rmtree(path.rename(path.with_name(f".{path.name.lstrip('.')}-{uuid.uuid4().hex[:8]}")))
    else:
        path.unlink(missing_ok=True)
