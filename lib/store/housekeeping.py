"""Lists, verifies and prunes the artifact store.

Pruning is safe beside runs: it holds a key's lock, and hides an artifact under a dot-name before it deletes it. What a
running process makes, and all that it is made from, stays; what a run will need only in a later step cannot be known.
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

from filelock import Timeout
from pydantic import BaseModel, ConfigDict

from lib.errors import StoreError
from lib.progress import Progress, silent
from lib.store.artifacts import KEY_LENGTH, MANIFEST, Store

SCRATCH_AGE = timedelta(days=7)  # long enough to come back to a training that was interrupted before a holiday
KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
UNFINISHED = re.compile(rf"\.?({KEY.pattern})(-.+)?")  # with a dot: a writer fills it, or it is being removed

Key = tuple[str, str]  # an artifact's place: its step and its key
Reference = tuple[str, str]  # an artifact as later ones name it: the step that made it, and its digest


class Entry(BaseModel):
    """One artifact of the store."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    digest: str | None  # None if the manifest cannot be read; then `seconds` and `inputs` are not known either
    size: int  # bytes on the disk, the manifest's among them
    created: datetime  # UTC; without a manifest, when something in it changed last
    seconds: float | None  # how long it took to make
    inputs: dict[str, str]  # step name -> digest of what it was made from
    referenced: bool  # an artifact that is final, or that a run in MLflow names, was made from it, or it is one


class Damage(BaseModel):
    """A damaged artifact, with a phrase for each of its problems; each names the file."""

    step: str
    key: str
    problems: list[str]


class Pruned(BaseModel):
    """What `prune` removed, or would remove."""

    dry_run: bool
    artifacts: list[Entry] = []
    leftovers: list[str] = []  # paths in the store: dead writers' folders, old scratch, records of what is gone
    in_use: list[Entry] = []  # met the criteria, but a running process makes them or something from them
    freed: int = 0  # bytes
    remaining: int  # bytes of the whole store afterwards


def list_artifacts(store: Store, final: Collection[str], named: Collection[Reference] = ()) -> list[Entry]:
    """All artifacts, oldest first.

    final: the steps whose artifacts are what runs are made for. named: artifacts that something outside the store
    refers to, such as a run in MLflow.
    """
    found = [entry for folder in _folders(store) if (entry := _entry(store, folder))]
    finals = {(e.step, e.digest) for e in found if e.step in final and e.digest is not None}
    needed = _ancestors(found, {*finals, *named})
    marked = (e.model_copy(update={"referenced": e.step in final or (e.step, e.digest) in needed}) for e in found)
    return sorted(marked, key=lambda e: (e.created, e.step, e.key))


def verify(store: Store, progress: Progress = silent) -> list[Damage]:
    """Reads every file of every artifact; the damaged ones, by step and key."""
    folders = _folders(store)
    damaged = []
    for done, folder in enumerate(folders, start=1):
        step, key = folder.parent.name, folder.name
        problems = store.problems(step, key)
        if problems and folder.exists():  # a folder that was pruned meanwhile is not damaged
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
    """Removes artifacts that meet every given criterion, and all leftovers and lock files that nobody holds.

    Args:
        final, named: as in `list_artifacts`.
        older_than: only artifacts that were made longer ago.
        to_size: oldest first, and only until the whole store has at most this many bytes.
        unreferenced: only artifacts that neither a final nor a named one was made from, directly or through others.
        damaged: only artifacts whose files are not as their manifest says; reads all files.
        scratch_older_than: what an interrupted step resumes from stays for this long.
        now: an aware datetime; None: the clock's.

    Raises:
        StoreError: no criterion; a manifest that is needed to know what is referenced cannot be read; no permission.
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
    """The folders of all artifacts. What is not named as the store names things is not the store's."""
    return [folder for folder in sorted(store.root.glob("[!.]*/*")) if KEY.fullmatch(folder.name) and folder.is_dir()]


def _entry(store: Store, folder: Path) -> Entry | None:
    """An artifact, not yet known to be referenced; None if it was removed meanwhile."""
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
    """These references and all that the artifacts which they name were made from. Artifacts of one step with one digest
    cannot be told apart by a reference: all of them count."""
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
    """An unreadable manifest breaks the chain: all before it would look unreferenced, however dear."""
    unknown = next((entry for entry in entries if entry.digest is None), None)
    if unknown is not None:
        raise StoreError(
            f"{unknown.step}/{unknown.key} has no readable {MANIFEST}, so that nobody can tell what it was made from:"
            " run its recipe, which makes it again, or prune the damaged artifacts first"
        )


def _locks(store: Store) -> list[Key]:
    """Whose lock files there are, held or not."""
    names = [file.name.rpartition("-") for file in sorted((store.root / ".locks").glob("*-*"))]
    return [(step, key) for step, _, key in names if KEY.fullmatch(key)]


def _held(store: Store) -> set[Key]:
    """What running processes have locked."""
    held = set()
    for step, key in _locks(store):
        with _lock(store, step, key) as ours:
            if not ours:
                held.add((step, key))
    return held


@contextmanager
def _lock(store: Store, step: str, key: str) -> Iterator[bool]:
    """Holds a key's lock meanwhile, if nobody else does; whether it is held."""
    lock = store.lock(step, key)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _inputs_in_work(store: Store, held: set[Key]) -> Iterator[Reference]:
    """What the artifacts that running processes make at present are made from."""
    for folder in store.root.glob("[!.]*/.*"):
        name = UNFINISHED.fullmatch(folder.name)
        if name and (folder.parent.name, name[1]) in held:
            try:
                written = json.loads((folder / MANIFEST).read_bytes())
            except (OSError, ValueError):
                continue  # begun or finished in this moment
            yield from written["ingredients"].get("inputs", {}).items()


def _walk(path: Path) -> Iterator[os.stat_result]:
    """The state of `path` and of everything below; what vanishes meanwhile is left out."""
    below = (Path(folder) / name for folder, folders, files in os.walk(path) for name in (*folders, *files))
    for place in (path, *below):
        try:
            yield place.lstat()
        except FileNotFoundError:
            continue


def _size(path: Path) -> int:
    """Bytes of all files."""
    return sum(state.st_size for state in _walk(path) if stat.S_ISREG(state.st_mode))


def _last_change(path: Path) -> datetime:
    """When something in there changed last."""
    return datetime.fromtimestamp(max((state.st_mtime for state in _walk(path)), default=0), UTC)


# -- removing --


@dataclass
class _Sweep:
    """One walk through the store that removes, or in a dry run only notes, what may go; always under the key's lock."""

    store: Store
    held: set[Key]  # what running processes had locked at the start
    report: Pruned

    def take(self, entry: Entry, *, needed: bool, only_damaged: bool) -> None:
        """Removes an artifact unless a running process holds its key or (`needed`) makes something from it."""
        folder = self.store.root / entry.step / entry.key
        with self._holding(entry.step, entry.key) as ours:
            present = _entry(self.store, folder)
            if present is None or present.created != entry.created:
                return  # gone, or made anew, since it was listed
            if only_damaged and not self.store.problems(entry.step, entry.key):
                return
            if needed or not ours:
                self.report.in_use.append(entry)
                return
            self.report.artifacts.append(entry)
            for place in (folder, self.store.root / ".results" / entry.step / entry.key):
                self._remove(place)

    def clear_folders(self, cutoff: datetime) -> None:
        """Removes what dead writers left, and the scratch of steps that nobody has worked on since `cutoff`."""
        for step, key in self._unfinished():
            with self._holding(step, key) as ours:
                if ours:
                    for folder in self._stale(step, key, cutoff):
                        self._remove_leftover(folder)

    def _unfinished(self) -> list[Key]:
        """What has a hidden folder or a scratch folder."""
        places = (*self.store.root.glob("[!.]*/.*"), *self.store.root.glob(".scratch/*/*"))
        names = ((place.parent.name, UNFINISHED.fullmatch(place.name)) for place in places)
        return sorted({(step, name[1]) for step, name in names if name})

    def _stale(self, step: str, key: str, cutoff: datetime) -> list[Path]:
        homes = (self.store.root / step, self.store.root / ".scratch" / step)
        scratch = self.store.root / ".scratch" / step / key
        aged = [scratch] if scratch.is_dir() and _last_change(scratch) < cutoff else []
        return [folder for home in homes for folder in sorted(home.glob(f".{key}-*"))] + aged

    def clear_records(self) -> None:
        """Removes the records of artifacts that are not there any more."""
        for record in sorted(self.store.root.glob(".results/*/*")):
            step, key = record.parent.name, record.name
            artifact = self.store.root / step / key
            if KEY.fullmatch(key) and not artifact.exists():
                with self._holding(step, key) as ours:
                    if ours and not artifact.exists():
                        self._remove_leftover(record)

    def clear_locks(self) -> None:
        """Removes lock files that nobody holds.

        A process may have opened one already and be about to lock it. `filelock` sees that the file has lost its name
        (it has since 3.21) and makes another, so that two never hold the same key through different files.
        """
        for step, key in [] if self.report.dry_run else _locks(self.store):
            with _lock(self.store, step, key) as ours:
                if ours:
                    (self.store.root / ".locks" / f"{step}-{key}").unlink()

    @contextmanager
    def _holding(self, step: str, key: str) -> Iterator[bool]:
        """Holds the key's lock meanwhile; False if a running process does. A dry run only looks at the locks."""
        if self.report.dry_run:
            yield (step, key) not in self.held
        else:
            with _lock(self.store, step, key) as ours:
                yield ours

    def _remove_leftover(self, path: Path) -> None:
        self.report.leftovers.append(path.relative_to(self.store.root).as_posix())
        self._remove(path)

    def _remove(self, path: Path) -> None:
        """Hides a folder before it deletes it, so that nobody ever sees a part of it under its name."""
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
