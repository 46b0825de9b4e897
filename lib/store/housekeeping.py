"""Lists, verifies, prunes and copies artifact stores, wherever they keep their artifacts.

Pruning is safe beside runs: it holds a key's lock, and an artifact goes so that no reader sees a part of it. It keeps
what a running process makes and all inputs of that, but not what the run needs only in a later step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from lib.errors import StoreError
from lib.files.lock import tried
from lib.progress import Progress, silent
from lib.store.artifacts import MANIFEST
from lib.store.store import Key, Reference, Store, Thing

SCRATCH_AGE = timedelta(days=7)  # long enough to resume an interrupted training after a holiday

Found = TypeVar("Found")


class Entry(BaseModel):
    """One artifact of the store."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    digest: str | None  # None if the manifest cannot be read; `seconds` and `inputs` are then unknown too
    size: int  # bytes where it lies, including the manifest
    created: datetime  # UTC; without a manifest, the last change of its files
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
    leftovers: list[str] = []  # places in the store: what dead writers left, old scratch, records without artifact
    in_use: list[Entry] = []  # met the criteria, but a running process makes or uses them
    freed: int = 0  # bytes
    remaining: int  # bytes of the whole store afterwards


class Copied(BaseModel):
    """What `copy` did."""

    artifacts: int = 0  # copied
    size: int = 0  # bytes of those
    present: int = 0  # that the target had already
    damaged: list[Damage] = []  # that were left out


def list_artifacts(store: Store, final: Collection[str], named: Collection[Reference] = ()) -> list[Entry]:
    """Returns all artifacts, oldest first. final: the steps that runs are made for. named: artifacts that something
    outside the store refers to, such as a run in MLflow."""
    found = [entry for entry in _each(store, store.keys(), _entry) if entry is not None]
    finals = {(e.step, e.digest) for e in found if e.step in final and e.digest is not None}
    needed = _ancestors(found, {*finals, *named})
    marked = (e.model_copy(update={"referenced": e.step in final or (e.step, e.digest) in needed}) for e in found)
    return sorted(marked, key=lambda e: (e.created, e.step, e.key))


def verify(store: Store, progress: Progress = silent) -> list[Damage]:
    """Reads every file of every artifact; returns the damaged artifacts by step and key."""
    keys = store.keys()
    damaged = []
    for done, (key, problems) in enumerate(zip(keys, _each(store, keys, _problems), strict=True), start=1):
        if problems:
            damaged.append(Damage(step=key[0], key=key[1], problems=problems))
        progress(done, len(keys), "artifacts")
    return damaged


def copy(source: Store, target: Store, progress: Progress = silent) -> Copied:
    """Copies all artifacts that `target` does not have whole, with their manifests, so that what hits one store hits
    the other; damaged ones are named and left out."""
    copied = Copied()
    keys = source.keys()
    for done, (step, key) in enumerate(keys, start=1):
        if target.find(step, key) is not None:
            copied.present += 1
        else:
            try:
                manifest = source.manifest(step, key)
                with target.lock(step, key), target.copying(manifest) as folder:
                    source.fetch(step, key, folder)
            except StoreError:
                problems = source.problems(step, key)
                if not problems:  # not the artifact's fault
                    raise
                copied.damaged.append(Damage(step=step, key=key, problems=problems))
            else:
                copied.artifacts += 1
                copied.size += manifest.size
        progress(done, len(keys), "artifacts")
    return copied


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
        sweep = _Sweep(store, store.held(), Pruned(dry_run=dry_run, remaining=store.size()))
        in_work = _ancestors(entries, store.inputs_in_work(sweep.held))
        sweep.clear_leftovers(scratch_older_than, now)
        for entry in entries:
            if to_size is not None and sweep.report.remaining <= to_size:
                break
            if older_than is not None and now - entry.created <= older_than:
                continue
            if unreferenced and entry.referenced:
                continue
            sweep.take(entry, needed=(entry.step, entry.digest) in in_work, only_damaged=damaged)
        if not dry_run:
            store.clear_locks()
    except OSError as error:
        raise StoreError(
            f"{error.filename or store.place} cannot be changed ({error.strerror}): prune as the user that it belongs"
            " to"
        ) from error
    return sweep.report


# -- looking --


def _each(store: Store, keys: Collection[Key], ask: Callable[[Store, Key], Found]) -> Iterator[Found]:
    """Yields what each key's artifact comes to, in their order."""
    with ThreadPoolExecutor(store.parallel) as pool:
        yield from pool.map(lambda key: ask(store, key), keys)


def _problems(store: Store, key: Key) -> list[str]:
    problems = store.problems(*key)
    return problems if problems and store.lying(*key) else []  # it may have been pruned meanwhile


def _entry(store: Store, key: Key) -> Entry | None:
    """Returns an artifact, not yet known to be referenced; None if it was removed meanwhile."""
    try:
        manifest = store.manifest(*key)
    except StoreError:
        manifest = None
    lying = store.lying(*key)
    if lying is None:
        return None
    return Entry(
        step=key[0],
        key=key[1],
        digest=manifest.digest if manifest else None,
        size=lying.size,
        created=manifest.created if manifest else lying.changed,
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


# -- removing --


@dataclass
class _Sweep:
    """A walk through the store that removes, or in a dry run only lists, artifacts, always under the key's lock."""

    store: Store
    held: set[Key]  # what running processes had locked at the start
    report: Pruned

    def take(self, entry: Entry, *, needed: bool, only_damaged: bool) -> None:
        """Removes an artifact unless a running process holds its key or (`needed`) uses it."""
        key = (entry.step, entry.key)
        with self._holding(key) as ours:
            present = _entry(self.store, key)
            if present is None or present.created != entry.created:
                return  # removed or made again since it was listed
            if only_damaged and not self.store.problems(*key):
                return
            if needed or not ours:
                self.report.in_use.append(entry)
                return
            self.report.artifacts.append(entry)
            self._remove(self.store.things(*key))

    def clear_leftovers(self, age: timedelta, now: datetime) -> None:
        """Removes what dead writers left, scratch unchanged for `age`, and records of artifacts that are gone."""
        for key in self.store.unfinished():
            with self._holding(key) as ours:
                if ours:
                    stale = self.store.stale(*key, age, now)
                    self.report.leftovers += [thing.name for thing in stale]
                    self._remove(stale)

    @contextmanager
    def _holding(self, key: Key) -> Iterator[bool]:
        """Holds the key's lock; yields False if a running process does. A dry run only checks the locks."""
        if self.report.dry_run:
            yield key not in self.held
        else:
            with tried(self.store.lock(*key)) as ours:
                yield ours

    def _remove(self, things: Iterable[Thing]) -> None:
        for thing in things:
            self.report.freed += thing.size
            self.report.remaining -= thing.size
            if not self.report.dry_run:
                thing.remove()
