"""Manifests of artifacts on a server: read, created where there is none, and replaced where one has not changed."""

from __future__ import annotations

import json

from pydantic import Field

from lib.errors import StoreError
from lib.files.checksum import seal_holds, sealed
from lib.store.artifacts import MANIFEST, File, Manifest
from lib.store.bucket import Bucket

TRIES = 100  # to publish, while others replace the same manifest


class Placed(Manifest):
    """The manifest of an artifact on a server."""

    parts: str  # the folder, beside it, with the files of whoever wrote it
    damaged: list[str] = Field(
        default_factory=list
    )  # a phrase for each problem that was come upon; whoever makes it again replaces it

    @property
    def plain(self) -> Manifest:
        """What it says of the artifact, and not of this place."""
        return Manifest.model_validate(self.model_dump(include=set(Manifest.model_fields)))

    @property
    def folder(self) -> str:
        """Where its files lie."""
        return f"{self.step}/{self.key}/{self.parts}"

    def object_of(self, file: File) -> str:
        """The object with the bytes of one of its files; names of files may have characters that objects must not."""
        return f"{self.folder}/{file.sha256}"


def manifest_name(step: str, key: str) -> str:
    """Returns the object with an artifact's manifest."""
    return f"{step}/{key}/{MANIFEST}"


class PlacedManifests:
    """The manifests in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, step: str, key: str) -> tuple[Placed | None, str] | None:
        """Returns a manifest, None in its place if it cannot be read, and its ETag; None if there is none."""
        found = self._bucket.get(manifest_name(step, key))
        if found is None:
            return None
        try:
            content = json.loads(found[0])
            return (Placed.model_validate(content) if seal_holds(content) else None), found[1]
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None, found[1]

    def problems(self, placed: Placed) -> list[str]:
        """Returns a phrase for each problem that shows without reading files: what is known, missing, or too short."""
        sizes = {each.name.rpartition("/")[2]: each.size for each in self._bucket.list(placed.folder)}
        phrases = list(placed.damaged)
        for file in placed.files:
            size = sizes.get(file.sha256)
            if size is None:
                phrases.append(f"{file.name} is missing")
            elif size != file.size:
                phrases.append(f"{file.name} has {size:,} bytes instead of {file.size:,}")
        if placed.files and not placed.belongs_to(placed.step, placed.key):
            phrases.append(f"{MANIFEST} does not belong to these files")
        return list(dict.fromkeys(phrases))

    def publish(self, ours: Placed) -> Placed:
        """Writes the manifest of files that are in their place, unless there is that of a whole artifact. Returns the
        one that stands; if it is another's, nothing refers to our files."""
        for _ in range(TRIES):
            found = self.read(ours.step, ours.key)
            if found is None:
                if self._bucket.create(manifest_name(ours.step, ours.key), _written(ours)) is not None:
                    return ours
                continue  # somebody was quicker, or the answer to our request was lost
            theirs, etag = found
            if theirs is not None and theirs.parts == ours.parts:
                return ours
            if theirs is not None and not self.problems(theirs):
                return theirs
            if self._bucket.swap(manifest_name(ours.step, ours.key), _written(ours), etag) is not None:
                if theirs is not None:
                    self.remove_files(theirs)
                return ours
        raise StoreError(
            f"the artifact {ours.step}/{ours.key} of {self._bucket.address} was replaced {TRIES} times while it was"
            " published: see which machines write there, and run again"
        )

    def mark(self, placed: Placed, phrases: list[str]) -> bool:
        """Notes what is wrong with an artifact, so that nobody uses it; returns whether it is still the one there."""
        found = self.read(placed.step, placed.key)
        if found is None or found[0] is None or found[0].parts != placed.parts:
            return False
        marked = found[0].model_copy(update={"damaged": list(dict.fromkeys([*found[0].damaged, *phrases]))})
        if marked != found[0]:
            self._bucket.swap(manifest_name(placed.step, placed.key), _written(marked), found[1])
        return True

    def remove_files(self, placed: Placed) -> None:
        """Removes the files of a manifest that stands no longer, or never did."""
        self._bucket.delete([each.name for each in self._bucket.list(placed.folder)])


def _written(placed: Placed) -> bytes:
    return json.dumps(sealed(placed.model_dump(mode="json")), indent=2, ensure_ascii=False).encode()
