"""Lists, verifies and prunes the artifact store.

Pruning is safe beside runs: it holds a key's lock, and hides an artifact under a dot-name before deleting it. It keeps
what a running process makes and all inputs of that, but not what the run needs only in a later step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lib.errors import StoreError
from lib.files.lock import tried
from lib.progress import Progress, silent
from lib.store.artifacts import KEY_LENGTH, MANIFEST, Store

SCRATCH_AGE = timedelta(days=7)  # long enough to resume an interrupted training after a holiday
KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
UNFINISHED = re.compile(rf"\.?({KEY.pattern})(-.+)?")  # with a dot: being written or removed

Key = tuple[str, str]  # step and key
Reference = tuple[str, str]  # step and digest, as later artifacts refer to it


class Entry(BaseModel):
    """One artifact of the store."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    digest: str | None  # None if the manifest cannot be read; `seconds` and `inputs` are then unknown too
    size: int  # bytes on the disk, including the manifest
    created: datetime  # UTC; without a manifest, the last change in the folder
    seconds: float | None  # time to compute it
    inputs: dict[str, str]  # step name -> digest of each input
    referenced: bool  # it is, or was used for, a final artifact or one that a run in MLflow names


class Damage(BaseModel):
    """A damaged artifact, with a phrase for each of its problems that names the file."""

    step: str
    key: str
    problems: list[str]


class Pruned(BaseModel):
    """What `prune` removed, or would remove."""

    dry_run: bool
    artifacts: list[Entry] = []
    leftovers: list[str] = []  # paths in the store: dead writers' folders, old scratch, records without artifact
    in_use: list[Entry] = []  # met the criteria, but a running process makes or uses them
    freed: int = 0  # bytes
    remaining: int  # bytes of the whole store afterwards


def list_artifacts(store: Store, final: Collection[str], named: Collection[Reference] = ()) -> list[Entry]:
    """Returns all artifacts, oldest first. final: the steps that runs are made for. named: artifacts that something
    outside the store refers to, such as a run in MLflow."""
    found = [entry for folder in _folders(store) if (entry := _entry(store, folder))]
    finals = {(e.step, e.digest) for e in found if e.step in final and e.digest is not None}
    needed = _ancestors(found, {*finals, *named})
    marked = (e.model_copy(update={"referenced": e.step in final or (e.step, e.digest) in needed}) for e in found)
    return sorted(marked, key=lambda e: (e.created, e.step, e.key))


def verify(store: Store, progress: Progress = silent) -> list[Damage]:
    """Reads every file of every artifact; returns the damaged artifacts by step and key."""
    folders = _folders(store)
    damaged = []
    for done, folder in enumerate(folders, start=1):
        step, key = folder.parent.name, folder.name
        problems = store.problems(step, key)
        if problems and folder.exists():  # it may have been pruned meanwhile
            damaged.append(Damage(step=step, key=key, problems=problems))
        progress(done, len(folders), "artifacts")
    return damaged


def prune(
    store: Store,
    final: Collection[str],
    named: Collection[Reference] = (),
    *,
    older_than: timedelta | None = None,
    to_size: int | None = None,
    unreferenced: bool = False,
    damaged: bool = False,
    scratch_older_than: timedelta = SCRATCH_AGE,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Pruned:
    """Removes artifacts that meet every given criterion, all leftovers, and lock files that nobody holds.

    Args:
        final, named: as in `list_artifacts`.
        older_than: only artifacts of a greater age.
        to_size: oldest first, until the whole store has at most this many bytes.
        unreferenced: only artifacts that no final or named artifact depends on, directly or not.
        damaged: only artifacts whose files differ from their manifest; reads all files.
        scratch_older_than: the age from which an interrupted step's scratch is removed.
        dry_run: removes nothing, and reports what would be removed.
        now: an aware datetime (None: the present time).

    Raises StoreError without a criterion, if a manifest that decides what is referenced cannot be read, or if
    permission is missing.
    """
    if older_than is None and to_size is None and not unreferenced and not damaged:
        raise StoreError(
            "nothing says which artifacts may go: give an age (older-than), a size (to-size), unreferenced or damaged"
        )
    now = now or datetime.now(UTC)
    entries = list_artifacts(store, final, named)
    if unreferenced:
        _require_manifests(entries)
    try:
        sweep = _Sweep(store, _held(store), Pruned(dry_run=dry_run, remaining=_size(store.root)))
        in_work = _ancestors(entries, _inputs_in_work(store, sweep.held))
        sweep.clear_folders(now - scratch_older_than)
        sweep.clear_records()
        for entry in entries:
            if to_size is not None and sweep.report.remaining <= to_size:
                break
            if older_than is not None and now - entry.created <= older_than:
                continue
            if unreferenced and entry.referenced:
                continue
            sweep.take(entry, needed=(entry.step, entry.digest) in in_work, only_damaged=damaged)
        sweep.clear_locks()
    except OSError as error:
        raise StoreError(
            f"{error.filename or store.root} cannot be changed ({error.strerror}): prune as the user that it belongs to"
        ) from error
    return sweep.report


# -- looking --


def _folders(store: Store) -> list[Path]:
    """Returns the folders of all artifacts, ignoring names that are not the store's."""
    return [folder for folder in sorted(store.root.glob("[!.]*/*")) if KEY.fullmatch(folder.name) and folder.is_dir()]


def _entry(store: Store, folder: Path) -> Entry | None:
    """Returns an artifact, not yet known to be referenced; None if it was removed meanwhile."""
    step, key = folder.parent.name, folder.name
    size, changed = _size(folder), _last_change(folder)
    try:
        manifest = store.manifest(step, key)
    except StoreError:
        manifest = None
    if not folder.exists():
        return None
    return Entry(
        step=step,
        key=key,
        digest=manifest.digest if manifest else None,
        size=size,
        created=manifest.created if manifest else changed,
        seconds=manifest.seconds if manifest else None,
        inputs=manifest.ingredients.get("inputs", {}) if manifest else {},
        referenced=False,
    )


def _ancestors(entries: Iterable[Entry], references: Iterable[Reference]) -> set[Reference]:
    """Returns these references and everything that their artifacts depend on. A reference stands for all artifacts of
    one step with one digest."""
    inputs: dict[Reference, set[Reference]] = {}
    for entry in entries:
        if entry.digest is not None:
            inputs.setdefault((entry.step, entry.digest), set()).update(entry.inputs.items())
    reached: set[Reference] = set()
    waiting = list(references)
    while waiting:
        reference = waiting.pop()
        if reference not in reached:
            reached.add(reference)
            waiting.extend(inputs.get(reference, ()))
    return reached


def _require_manifests(entries: Iterable[Entry]) -> None:
    """Refuses an unreadable manifest, because everything before it would look unreferenced."""
    unknown = next((entry for entry in entries if entry.digest is None), None)
    if unknown is not None:
        raise StoreError(
            f"{unknown.step}/{unknown.key} has no readable {MANIFEST}, so that nobody can tell what it was made from:"
            " run its recipe, which makes it again, or prune the damaged artifacts first"
        )


def _locks(store: Store) -> list[Key]:
    """Returns the keys of all lock files, held or not."""
    names = [file.name.rpartition("-") for file in sorted((store.root / ".locks").glob("*-*"))]
    return [(step, key) for step, _, key in names if KEY.fullmatch(key)]


def _held(store: Store) -> set[Key]:
    """Returns the keys that running processes have locked."""
    held = set()
    for step, key in _locks(store):
        with tried(store.lock(step, key)) as ours:
            if not ours:
                held.add((step, key))
    return held


def _inputs_in_work(store: Store, held: set[Key]) -> Iterator[Reference]:
    """Yields the inputs of the artifacts that running processes are making."""
    for folder in store.root.glob("[!.]*/.*"):
        name = UNFINISHED.fullmatch(folder.name)
        if name and (folder.parent.name, name[1]) in held:
            try:
                written = json.loads((folder / MANIFEST).read_bytes())
            except (OSError, ValueError):
                continue  # just begun or finished
            yield from written["ingredients"].get("inputs", {}).items()


def _walk(path: Path) -> Iterator[os.stat_result]:
    """Yields the stat of `path` and of everything below, leaving out what vanishes meanwhile."""
    below = (Path(folder) / name for folder, folders, files in os.walk(path) for name in (*folders, *files))
    for place in (path, *below):
        try:
            yield place.lstat()
        except FileNotFoundError:
            continue


def _size(path: Path) -> int:
    return sum(state.st_size for state in _walk(path) if stat.S_ISREG(state.st_mode))


def _last_change(path: Path) -> datetime:
    return datetime.fromtimestamp(max((state.st_mtime for state in _walk(path)), default=0), UTC)


# -- removing --


@dataclass
class _Sweep:
    """A walk through the store that removes, or in a dry run only lists, artifacts, always under the key's lock."""

    store: Store
    held: set[Key]  # what running processes had locked at the start
    report: Pruned

    def take(self, entry: Entry, *, needed: bool, only_damaged: bool) -> None:
        """Removes an artifact unless a running process holds its key or (`needed`) uses it."""
        folder = self.store.root / entry.step / entry.key
        with self._holding(entry.step, entry.key) as ours:
            present = _entry(self.store, folder)
            if present is None or present.created != entry.created:
                return  # removed or made again since it was listed
            if only_damaged and not self.store.problems(entry.step, entry.key):
                return
            if needed or not ours:
                self.report.in_use.append(entry)
                return
            self.report.artifacts.append(entry)
            for place in (folder, self.store.root / ".results" / entry.step / entry.key):
                self._remove(place)

    def clear_folders(self, cutoff: datetime) -> None:
        """Removes folders of dead writers, and scratch unchanged since `cutoff`."""
        for step, key in self._unfinished():
            with self._holding(step, key) as ours:
                if ours:
                    for folder in self._stale(step, key, cutoff):
                        self._remove_leftover(folder)

    def _unfinished(self) -> list[Key]:
        """Returns the keys that have a hidden folder or a scratch folder."""
        places = (*self.store.root.glob("[!.]*/.*"), *self.store.root.glob(".scratch/*/*"))
        names = ((place.parent.name, UNFINISHED.fullmatch(place.name)) for place in places)
        return sorted({(step, name[1]) for step, name in names if name})

    def _stale(self, step: str, key: str, cutoff: datetime) -> list[Path]:
        homes = (self.store.root / step, self.store.root / ".scratch" / step)
        scratch = self.store.root / ".scratch" / step / key
        aged = [scratch] if scratch.is_dir() and _last_change(scratch) < cutoff else []
        return [folder for home in homes for folder in sorted(home.glob(f".{key}-*"))] + aged

    def clear_records(self) -> None:
        """Removes the records of artifacts that no longer exist."""
        for record in sorted(self.store.root.glob(".results/*/*")):
            step, key = record.parent.name, record.name
            artifact = self.store.root / step / key
            if KEY.fullmatch(key) and not artifact.exists():
                with self._holding(step, key) as ours:
                    if ours and not artifact.exists():
                        self._remove_leftover(record)

    def clear_locks(self) -> None:
        """Removes lock files that nobody holds. If a process has opened one and is about to lock it, `filelock` (since
        3.21) notices that the file was removed and makes another, so that two processes never hold the same key."""
        for step, key in [] if self.report.dry_run else _locks(self.store):
            with tried(self.store.lock(step, key)) as ours:
                if ours:
                    (self.store.root / ".locks" / f"{step}-{key}").unlink()

    @contextmanager
    def _holding(self, step: str, key: str) -> Iterator[bool]:
        """Holds the key's lock; yields False if a running process does. A dry run only checks the locks."""
        if self.report.dry_run:
            yield (step, key) not in self.held
        else:
            with tried(self.store.lock(step, key)) as ours:
                yield ours

    def _remove_leftover(self, path: Path) -> None:
        self.report.leftovers.append(path.relative_to(self.store.root).as_posix())
        self._remove(path)

    def _remove(self, path: Path) -> None:
        """Hides a folder before deleting it, so that no reader sees a part of it under its name."""
        size = _size(path)
        self.report.freed += size
        self.report.remaining -= size
        if self.report.dry_run:
            return
        if path.is_dir():
            hidden = path.with_name(f".{path.name.lstrip('.')}-{uuid.uuid4().hex[:8]}")
            shutil.rmtree(path.rename(hidden))
        else:
            path.unlink(missing_ok=True)
