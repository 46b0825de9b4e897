"""The artifact store: immutable folders that steps produce, found by key.

An artifact lies at `<store>/<step>/<key>/`: its files and a `manifest.json` with the key's ingredients. It is written
to a hidden folder and renamed, so that a reader sees all of it or nothing. The manifest has the checksums of the files
and one of itself: what was changed afterwards counts as damaged. `.locks/` has a file for each key in use;
`.scratch/<step>/<key>/` holds what an interrupted step resumes from, such as partial downloads and checkpoints.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

from lib.errors import StoreError
from lib.files.checksum import SEAL, file_problem, file_sha256, json_sha256, seal_holds, sealed
from lib.files.disk import disk_full_is_clear, remove, sync
from lib.files.jsonfile import read_strange_json, save_json

MANIFEST = "manifest.json"
KEY_LENGTH = 32  # hexadecimal digits: 128 bits of SHA-256
NOTED_PACKAGES = (
    *("finetune-flows", "torch", "transformers", "onnxruntime", "numpy", "pandas", "pyarrow", "tiktoken"),
    *("scikit-learn", "accelerate", "matplotlib"),
)


class Artifact(BaseModel):
    """A finished artifact: its folder and the digest of its files."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    digest: str
    folder: Path

    def file(self, name: str) -> Path:
        return self.folder / name


class File(BaseModel):
    """One file of an artifact. The digest leaves out `noted` files, which are kept and checked but which no later step
    depends on (seconds, addresses)."""

    name: str
    size: int
    sha256: str
    noted: bool = False


class Manifest(BaseModel):
    """The contents of `manifest.json`."""

    step: str
    key: str
    digest: str
    files: list[File]
    ingredients: dict[str, Any]
    notes: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str]
    created: datetime
    seconds: float

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def key_of(ingredients: Mapping[str, Any]) -> str:
    """Returns the key of these ingredients; equal ingredients give equal keys on every machine."""
    return json_sha256(ingredients)[:KEY_LENGTH]


class Store:
    """A folder of artifacts; `warn` gets one sentence for each damaged artifact."""

    def __init__(self, root: Path, warn: Callable[[str], None] = lambda sentence: None) -> None:
        self.root = root
        self.warn = warn

    # -- reading --

    def find(self, step: str, key: str) -> Artifact | None:
        """Returns the undamaged artifact with this key, or None; a damaged one is reported through `warn`."""
        folder = self.root / step / key
        if not folder.exists():
            return None
        problems = self.problems(step, key)
        if problems:
            self.warn(f"the artifact {step}/{key} is damaged and will be made again: {'; '.join(problems)}")
            return None
        manifest = self.manifest(step, key)
        self._remove_scratch(step, key)  # of a process that was killed once the artifact was in its place
        return Artifact(step=step, key=key, digest=manifest.digest, folder=folder)

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
        if manifest.digest != _digest(manifest.files) or (manifest.step, manifest.key) != (step, key):
            phrases.append(f"{MANIFEST} does not belong to these files")
        return [phrase for phrase in phrases if phrase]

    # -- writing --

    def lock(self, step: str, key: str) -> FileLock:
        """Returns the lock of a key, not acquired yet; as a `flock` it ends with its process."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{step}-{key}", thread_local=False)

    def scratch(self, step: str, key: str) -> Path:
        """Returns a folder for what an interrupted step resumes from; publishing the artifact removes it."""
        folder = self.root / ".scratch" / step / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

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
        """Yields a folder to fill, which becomes the artifact at the end of the block and is removed after an
        exception.

        The caller holds the key's lock, so that no other process computes the same artifact. `noted` files stay out of
        the digest; `notes` go into the manifest only. Raises StoreError if the disk is full.
        """
        started = time.monotonic()
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
                yield folder
                files = _inventory(folder, noted)
                manifest = Manifest(
                    step=step,
                    key=key,
                    digest=_digest(files),
                    files=files,
                    ingredients=dict(ingredients),
                    notes=dict(notes or {}),
                    versions=_versions(),
                    created=datetime.now(UTC),
                    seconds=round(time.monotonic() - started, 3),
                )
                save_json(sealed(manifest.model_dump(mode="json")), folder / MANIFEST)
                self._publish(folder, step, key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._remove_scratch(step, key)

    def _remove_scratch(self, step: str, key: str) -> None:
        shutil.rmtree(self.root / ".scratch" / step / key, ignore_errors=True)

    def _publish(self, folder: Path, step: str, key: str) -> None:
        for path in folder.rglob("*"):
            sync(path)
        sync(folder)
        final = self.root / step / key
        if final.exists():
            if not self.problems(step, key):
                return
            # Renamed before it is removed, so that a crash leaves no artifact rather than half of one.
            remove(final.rename(folder.with_name(f"{folder.name}-damaged")))
        folder.rename(final)
        sync(final.parent)


def _inventory(folder: Path, noted: tuple[str, ...]) -> list[File]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return [
        File(
            name=(name := path.relative_to(folder).as_posix()),
            size=path.stat().st_size,
            sha256=file_sha256(path),
            noted=name in noted,
        )
        for path in paths
    ]


def _digest(files: list[File]) -> str:
    lines = sorted(f"{file.name} {file.sha256}" for file in files if not file.noted)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("finetune-flows", *NOTED_PACKAGES):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
