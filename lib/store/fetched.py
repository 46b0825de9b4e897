"""Files of artifacts on a server, fetched when they are needed, checked, and kept in the cache."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from lib.errors import StoreError
from lib.store.artifacts import Artifact, File
from lib.store.bucket import Bucket
from lib.store.cache import Cache
from lib.store.placed import Placed, PlacedManifests

STREAMS = 4  # files that are fetched side by side


class FetchedFiles:
    """The files of one artifact. placed: its manifest, which is read when it is needed where it is not known."""

    place = None

    def __init__(
        self,
        artifact: Artifact,
        bucket: Bucket,
        manifests: PlacedManifests,
        cache: Cache,
        placed: Placed | None,
    ) -> None:
        self._artifact, self._bucket, self._manifests, self._cache = artifact, bucket, manifests, cache
        self._known = placed
        self._fetched: set[str] = set()
        self._guard = threading.RLock()

    @property
    def folder(self) -> Path:
        """A folder with all of them."""
        return self._with(self._placed.files)

    def file(self, name: str) -> Path:
        """Where this file, or folder of files, lies."""
        wanted = [file for file in self._placed.files if file.name == name or file.name.startswith(f"{name}/")]
        return self._with(wanted) / name

    def has(self, name: str) -> bool:
        """Whether there is such a file; nothing is fetched."""
        return any(file.name == name for file in self._placed.files)

    def _with(self, files: Iterable[File]) -> Path:
        """Returns the folder once these files are in it."""
        with self._guard:
            placed = self._placed
            folder = self._cache.folder(placed.files)
            missing = [file for file in files if file.name not in self._fetched]

            def fetch(file: File) -> None:
                self._cache.file(folder, file, partial(fetch_file, self._bucket, self._manifests, placed, file))

            with ThreadPoolExecutor(STREAMS) as pool:
                list(pool.map(fetch, missing))
            self._fetched.update(file.name for file in missing)
        return folder

    @property
    def _placed(self) -> Placed:
        with self._guard:
            if self._known is None:
                step, key = self._artifact.step, self._artifact.key
                found = self._manifests.read(step, key)
                if found is None or found[0] is None or found[0].digest != self._artifact.digest:
                    raise _not_there_any_more(step, key)
                self._known = found[0]
            return self._known


def fetch_file(bucket: Bucket, manifests: PlacedManifests, placed: Placed, file: File, target: Path) -> None:
    """Writes a file of an artifact into a new one. Raises StoreError if it is damaged, which its manifest then says, so
    that the next run makes the artifact again."""
    sha256 = bucket.download(placed.object_of(file), file.size, target)
    if sha256 == file.sha256:
        return
    problem = f"{file.name} {'is missing or too short' if sha256 is None else 'does not have its checksum'}"
    if not manifests.mark(placed, [problem]):
        raise _not_there_any_more(placed.step, placed.key)
    raise StoreError(
        f"the artifact {placed.step}/{placed.key} of {bucket.address} is damaged ({problem}): run again, which makes it"
        " again"
    )


def _not_there_any_more(step: str, key: str) -> StoreError:
    return StoreError(
        f"the artifact {step}/{key} was removed or replaced while it was used, by a prune or on another machine: run"
        " again, which makes it again"
    )
