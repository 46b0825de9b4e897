"""Artifacts: immutable sets of files that steps produce, found by key, with a manifest of what they were made from.

The manifest has the checksums of the files and one of itself: what was changed afterwards counts as damaged. Steps
reach this module, and none of those that know where artifacts lie, so that no way of keeping them enters a cache key.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from lib.files.checksum import file_sha256, json_sha256

MANIFEST = "manifest.json"
KEY_LENGTH = 32  # hexadecimal digits: 128 bits of SHA-256
NOTED_PACKAGES = (
    *("finetune-flows", "torch", "transformers", "tokenizers", "onnxruntime", "numpy", "pandas", "pyarrow", "tiktoken"),
    *("scikit-learn", "accelerate", "matplotlib"),
)


class Files(Protocol):
    """How the files of an artifact are reached in this process."""

    @property
    def place(self) -> Path | None:
        """The folder in which the store itself keeps them; None: it keeps them on a server."""

    @property
    def folder(self) -> Path:
        """A folder with all of them, fetched and checked if need be; raises StoreError if that cannot be."""

    def file(self, name: str) -> Path:
        """Where this file, or folder of files, lies, fetched and checked if need be; raises StoreError likewise."""

    def has(self, name: str) -> bool:
        """Whether there is such a file; nothing is fetched."""


@dataclass(frozen=True)
class InFolder:
    """Files that lie in a folder."""

    folder: Path

    @property
    def place(self) -> Path:
        return self.folder

    def file(self, name: str) -> Path:
        return self.folder / name

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()


class Artifact(BaseModel):
    """A finished artifact: its step, its key and the digest of its files. No path is a part of it: what travels in a
    result or to another machine is bound again there, by the store."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    digest: str
    _files: Files | None = PrivateAttr(default=None)

    def reached_by(self, files: Files) -> Artifact:
        """Returns this artifact with a way to its files."""
        bound = Artifact(step=self.step, key=self.key, digest=self.digest)
        bound._files = files
        return bound

    def in_folder(self, folder: Path) -> Artifact:
        """Returns this artifact with its files in a folder."""
        return self.reached_by(InFolder(folder))

    @property
    def is_bound(self) -> bool:
        """Whether its files can be reached."""
        return self._files is not None

    @property
    def place(self) -> Path | None:
        """The folder of the store that it lies in; None: on a server, or not bound."""
        return self._files.place if self._files is not None else None

    @property
    def folder(self) -> Path:
        """A folder with all of its files, to be read only."""
        return self._bound.folder

    def file(self, name: str) -> Path:
        """Where this file of its lies, to be read only."""
        return self._bound.file(name)

    def has(self, name: str) -> bool:
        """Whether it has such a file."""
        return self._bound.has(name)

    @property
    def _bound(self) -> Files:
        assert self._files is not None, f"{self.step}/{self.key} is bound to no store"
        return self._files

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash((self.step, self.key, self.digest))

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_files": None}}


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

    @property
    def artifact(self) -> Artifact:
        """What it describes, bound to nothing."""
        return Artifact(step=self.step, key=self.key, digest=self.digest)

    def belongs_to(self, step: str, key: str) -> bool:
        """Whether it is this artifact's, and its digest that of its files."""
        return self.digest == digest_of(self.files) and (self.step, self.key) == (step, key)


def key_of(ingredients: Mapping[str, Any]) -> str:
    """Returns the key of these ingredients; equal ingredients give equal keys on every machine."""
    return json_sha256(ingredients)[:KEY_LENGTH]


def inventory(folder: Path, noted: Sequence[str] = ()) -> list[File]:
    """Returns the files in a folder and below, by name, but for its manifest."""
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


def digest_of(files: Sequence[File]) -> str:
    """Returns the digest of an artifact with these files."""
    lines = sorted(f"{file.name} {file.sha256}" for file in files if not file.noted)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def versions() -> Mapping[str, str]:
    """Returns the versions of what results may depend on, as manifests note them; found out once, which takes tens of
    milliseconds."""
    found = {"python": platform.python_version()}
    for package in NOTED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
