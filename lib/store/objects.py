"""A store on a server that keeps objects as Amazon's S3 does, for several machines at once.

The files of an artifact lie at `<step>/<key>/<nonce>/<checksum>`, and its manifest, which names that nonce, is written
last at `<step>/<key>/manifest.json`, on the condition that there is none: whoever writes it first has made the
artifact, and whoever comes second uses that and removes their own files. A damaged artifact is replaced on the
condition that its manifest has not changed. What is read is checked, and lies in a cache on this machine; scratch stays
here, and so does a finished artifact that the server did not take, until it is needed again.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from lib.errors import StoreError
from lib.files.disk import remove
from lib.store.artifacts import MANIFEST, Artifact, File, Manifest, inventory
from lib.store.bucket import Bucket, Object
from lib.store.cache import Cache
from lib.store.fetched import FetchedFiles, fetch_file
from lib.store.folder import KEY, FolderStore
from lib.store.lease import LEASES, LIFE, Lease, lease_name
from lib.store.placed import Placed, PlacedManifests, manifest_name
from lib.store.store import Elsewhere, Key, Lying, Making, Reference, Store, Thing

STREAMS = 8  # files that are sent or read side by side
GRACE = timedelta(days=1)  # files that no manifest names are kept as long: their writer may be at work, and cut off
UNSENT = ".unsent"  # the folder on this machine with finished artifacts that the server did not take
INGREDIENTS = "ingredients.json"  # beside the files while they are made: tells housekeeping which inputs are in use


class ObjectStore(Store):
    """Artifacts below `s3://bucket/prefix`; `warn` gets one sentence for each damaged artifact. local: the folder for
    scratch, locks between processes of this machine, and the cache, which has `cache_size` bytes. life: seconds until
    a lease that nobody renews is taken over."""

    parallel = 16

    def __init__(
        self,
        address: str,
        *,
        local: Path,
        cache_size: int,
        warn: Callable[[str], None] = lambda sentence: None,
        life: float = LIFE,
    ) -> None:
        self.warn = warn
        self._bucket = _bucket(
            address, tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
        )
        self._manifests = PlacedManifests(self._bucket)
        self._local = FolderStore(local, warn)
        self._unsent = FolderStore(local / UNSENT, warn)
        self._cache = _cache(local / ".cache", cache_size)
        self._life = life

    @property
    def place(self) -> str:
        """Its address."""
        return self._bucket.address

    @property
    def local(self) -> Path:
        """The folder on this machine for what is no artifact."""
        return self._local.root

    # -- reading --

    def find(self, step: str, key: str) -> Artifact | None:
        """Returns the artifact with this key if it looks whole, or None; a damaged one is reported through `warn`. Its
        files are read, and checked, when they are needed. One that was made here and not taken is sent now."""
        found = self._manifests.read(step, key)
        if found is None and self._unsent.find(step, key) is not None:
            unsent = self._unsent.manifest(step, key)
            self._send(self._unsent.root / step / key, unsent, uuid.uuid4().hex, unsent.files)
            found = self._manifests.read(step, key)
        if found is None:
            return None
        placed = found[0]
        problems = [f"{MANIFEST} is missing or damaged"] if placed is None else self._manifests.problems(placed)
        if placed is None or problems:
            self.warn(f"the artifact {step}/{key} is damaged and will be made again: {'; '.join(problems)}")
            return None
        self.remove_scratch(step, key)  # of a process that was killed once the artifact was in its place
        remove(self._unsent.root / step / key)
        return placed.artifact.reached_by(self._files(placed.artifact, placed))

    def bound(self, artifact: Artifact) -> Artifact:
        """Returns an artifact with a way to its files, unless it has one; they are fetched when they are needed."""
        return artifact if artifact.is_bound else artifact.reached_by(self._files(artifact))

    def manifest(self, step: str, key: str) -> Manifest:
        """Reads a manifest; raises StoreError if it is missing or damaged."""
        return self._placed(step, key).plain

    def manifests(self, step: str | None = None) -> Iterator[Manifest]:
        """Yields the manifests of all readable artifacts (of one step), oldest first."""
        found = []
        with ThreadPoolExecutor(self.parallel) as pool:
            for key, read in pool.map(lambda key: (key, self._manifests.read(*key)), self._keys(step or "")):
                if read is not None and read[0] is not None:
                    found.append(read[0].plain)
                elif read is not None:
                    self.warn(str(_damaged_manifest(*key)))
        yield from sorted(found, key=lambda manifest: (manifest.created, manifest.step, manifest.key))

    def problems(self, step: str, key: str) -> list[str]:
        """Reads all files of an artifact; returns a phrase for each problem, and notes them in the manifest, so that
        the next run makes it again."""
        found = self._manifests.read(step, key)
        if found is None or found[0] is None:
            return [f"{MANIFEST} is missing or damaged"]
        placed = found[0]
        problems = self._manifests.problems(placed)
        if not problems:
            with ThreadPoolExecutor(STREAMS) as pool:
                read = pool.map(lambda file: self._bucket.checksum(placed.object_of(file), file.size), placed.files)
                pairs = zip(placed.files, read, strict=True)
                problems = [
                    f"{file.name} does not have its checksum" for file, sha256 in pairs if sha256 != file.sha256
                ]
        if problems:
            self._manifests.mark(placed, problems)
        return problems

    def fetch(self, step: str, key: str, folder: Path) -> None:
        """Writes the files of an artifact into a folder; raises StoreError if they are not those of its manifest."""
        placed = self._placed(step, key)
        with ThreadPoolExecutor(STREAMS) as pool:
            for file in placed.files:
                (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
            list(
                pool.map(lambda f: fetch_file(self._bucket, self._manifests, placed, f, folder / f.name), placed.files)
            )

    def _placed(self, step: str, key: str) -> Placed:
        found = self._manifests.read(step, key)
        if found is None or found[0] is None:
            raise _damaged_manifest(step, key)
        return found[0]

    def _files(self, artifact: Artifact, placed: Placed | None = None) -> FetchedFiles:
        return FetchedFiles(artifact, self._bucket, self._manifests, self._cache, placed)

    # -- writing --

    def lock(self, step: str, key: str) -> Lease:
        """Returns the lock of a key, not acquired yet. It ends with its process: at once for others of this machine,
        after the lease's life for other machines."""
        return Lease(self._bucket, lease_name(step, key), self._local.file_lock(step, key), self._life)

    def scratch(self, step: str, key: str) -> Path:
        """Returns a folder of this machine for what an interrupted step resumes from."""
        return self._local.scratch(step, key)

    def remove_scratch(self, step: str, key: str) -> None:
        """Removes what an interrupted step would resume from."""
        self._local.remove_scratch(step, key)

    @contextmanager
    def making(self, step: str, key: str, ingredients: Mapping[str, Any]) -> Iterator[Making]:
        """Yields a folder of this machine, in which an artifact is made; what was sent of it goes with an exception."""
        parts = uuid.uuid4().hex
        with self._local.making(step, key, ingredients) as here:
            self._bucket.require_conditions()
            note = f"{step}/{key}/{parts}/{INGREDIENTS}"
            self._bucket.put(note, json.dumps({"ingredients": dict(ingredients)}).encode())
            try:
                elsewhere = Elsewhere(self.place, step, key, parts, self._cache.limit)
                yield Making(here.folder, lambda about: self._publish(here.folder, about, parts), elsewhere)
            except BaseException:
                self._abandon(step, key, parts)
                raise
            with suppress(StoreError):  # a prune finds it later
                self._bucket.delete([note])

    def _publish(self, folder: Path, about: Manifest, parts: str) -> None:
        here = [file for file in about.files if (folder / file.name).exists()]  # the others were added elsewhere
        try:
            stands = self._send(folder, about, parts, here)
        except BaseException:
            if len(here) == len(about.files):
                self._keep(folder, about)
            raise
        if stands.parts == parts:
            self._cache.take(folder, about.files, here)
        elif stands.digest != about.digest:
            self.warn(
                f"the artifact {about.step}/{about.key} came out with other bytes on another machine, which was first:"
                " its files are used"
            )

    def _send(self, folder: Path, about: Manifest, parts: str, here: Sequence[File]) -> Placed:
        """Sends the files that are here, and the manifest of all unless another one stands; returns the one that
        does."""
        ours = Placed(**about.model_dump(), parts=parts)
        self._upload(ours.folder, here, folder)
        stands = self._manifests.publish(ours)
        if stands.parts != ours.parts:
            self._manifests.remove_files(ours)
        return stands

    def _keep(self, folder: Path, about: Manifest) -> None:
        """Keeps an artifact that could not be sent, so that its step need not be done again."""
        with self._unsent.copying(about) as kept:
            for file in about.files:
                (kept / file.name).parent.mkdir(parents=True, exist_ok=True)
                (folder / file.name).replace(kept / file.name)

    def _abandon(self, step: str, key: str, parts: str) -> None:
        """Removes files that were sent, unless a manifest names them: it may stand though its answer was lost."""
        with suppress(StoreError):  # a prune finds them later
            found = self._manifests.read(step, key)
            if found is None or (found[0] is not None and found[0].parts != parts):
                self._remove(f"{step}/{key}/{parts}")

    def receive(self, elsewhere: Elsewhere, folder: Path) -> list[File]:
        """Adds the files of a folder to an artifact that another machine is making; returns them."""
        files = inventory(folder)
        self._upload(f"{elsewhere.step}/{elsewhere.key}/{elsewhere.parts}", files, folder)
        return files

    def _upload(self, place: str, files: Sequence[File], folder: Path) -> None:
        objects = {f"{place}/{file.sha256}": folder / file.name for file in files}
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(self._bucket.upload, objects.keys(), objects.values()))

    # -- housekeeping --

    def keys(self) -> list[Key]:
        """The artifacts that lie here, ignoring names that are not the store's."""
        return self._keys()

    def _keys(self, step: str = "") -> list[Key]:
        names = (each.name.split("/") for each in self._bucket.list(step))
        found = (name for name in names if len(name) == 3 and name[2] == MANIFEST and KEY.fullmatch(name[1]))
        return [(name[0], name[1]) for name in found]

    def lying(self, step: str, key: str) -> Lying | None:
        """An artifact as it lies here, with all that belongs to its key; None: not any more."""
        found = self._bucket.list(f"{step}/{key}")
        if manifest_name(step, key) not in {each.name for each in found}:
            return None
        return Lying(sum(each.size for each in found), max(each.changed for each in found))

    def size(self) -> int:
        """Bytes of all that is here, and on this machine for unfinished artifacts; not of the cache."""
        return sum(each.size for each in self._bucket.list()) + self._local.size_beside() + self._unsent.size()

    def held(self) -> set[Key]:
        """The keys that somebody has locked, or had until a moment ago."""
        names = (each.name.split("/") for each in self._bucket.list(LEASES))
        return self._local.held() | {(name[1], name[2]) for name in names if len(name) == 3}

    def inputs_in_work(self, held: set[Key]) -> Iterator[Reference]:
        """Yields the inputs of the artifacts that running processes are making."""
        for name in (each.name for each in self._bucket.list()):
            step, key, *rest = name.split("/") if name.count("/") == 3 else ("", "", "")
            if (step, key) in held and rest[-1] == INGREDIENTS and (found := self._bucket.get(name)) is not None:
                with suppress(ValueError):
                    yield from json.loads(found[0])["ingredients"].get("inputs", {}).items()

    def things(self, step: str, key: str) -> list[Thing]:
        """An artifact, with all that belongs to its key, and Prefect's record of it."""
        place = f"{step}/{key}"
        size = sum(each.size for each in self._bucket.list(place))
        return [Thing(place, size, partial(self._remove, place)), self._local.record(step, key)]

    def unfinished(self) -> list[Key]:
        """The keys with files that no manifest may name, and those of which something lies on this machine."""
        parts: dict[Key, set[str]] = {}
        for name in (each.name.split("/") for each in self._bucket.list()):
            if len(name) >= 3 and KEY.fullmatch(name[1]):
                parts.setdefault((name[0], name[1]), set()).add(name[2])
        several = {key for key, names in parts.items() if len(names) != 2 or MANIFEST not in names}
        there = {key for key, names in parts.items() if MANIFEST in names}
        return sorted(several.union(self._local.unfinished(there), self._unsent.keys()))

    def stale(self, step: str, key: str, age: timedelta, now: datetime) -> list[Thing]:
        """Files that no manifest has named for a day, and what dead writers left on this machine."""
        found = self._manifests.read(step, key)
        here = self._local.stale(step, key, age, now, there=found is not None)
        unsent = self._unsent.lying(step, key)
        if unsent is not None and unsent.changed < now - age:
            place = self._unsent.root / step / key
            here.append(Thing(f"{UNSENT}/{step}/{key}", unsent.size, partial(remove, place)))
        if found is not None and found[0] is None:
            return here  # nobody can tell which files a damaged manifest names
        parts: dict[str, list[Object]] = {}
        for each in self._bucket.list(f"{step}/{key}"):
            if each.name.count("/") >= 3:
                parts.setdefault("/".join(each.name.split("/")[:3]), []).append(each)
        named = found[0].folder if found is not None and found[0] is not None else None
        return here + [
            Thing(folder, sum(each.size for each in objects), partial(self._remove, folder))
            for folder, objects in sorted(parts.items())
            if folder != named and max(each.changed for each in objects) < now - GRACE
        ]

    def clear_locks(self) -> None:
        """Removes leases that nobody has renewed for several lives, and lock files of this machine."""
        leases = self._bucket.list(LEASES)
        if leases:
            over = self._bucket.now() - timedelta(seconds=3 * self._life)
            self._bucket.delete([each.name for each in leases if each.changed < over])
        self._local.clear_locks()

    def _remove(self, folder: str) -> None:
        """Removes all below, a manifest first, so that no reader finds one whose files are going."""
        names = [each.name for each in self._bucket.list(folder)]
        self._bucket.delete([name for name in names if name.endswith(f"/{MANIFEST}")])
        self._bucket.delete([name for name in names if not name.endswith(f"/{MANIFEST}")])


def _damaged_manifest(step: str, key: str) -> StoreError:
    return StoreError(f"the manifest of {step}/{key} is missing or damaged: the artifact must be made again")


@lru_cache(maxsize=8)
def _bucket(address: str, environment: tuple[tuple[str, str], ...]) -> Bucket:  # noqa: ARG001 - which the client reads
    """Returns one bucket for all stores of this process there, which has asked its server once about conditions."""
    return Bucket(address)


@lru_cache(maxsize=8)
def _cache(root: Path, limit: int) -> Cache:
    """Returns one cache for all stores of this process, which knows what is in use."""
    return Cache(root, limit)
