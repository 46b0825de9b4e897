"""Keeps what a step warned of beside what it made, so that a run which reuses the artifact says it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lib.files.jsonfile import load_json, save_json

if TYPE_CHECKING:
    from lib.store.artifacts import Artifact

WARNINGS = "warnings.json"  # a list of sentences; always noted, so that another wording makes nothing anew


def add_warning(folder: Path, sentence: str) -> None:
    """Adds a sentence to the warnings of an artifact that is being written into `folder`."""
    save_json([*_in(folder), sentence], folder / WARNINGS)


def warnings_of(artifacts: Iterable[Artifact]) -> list[str]:
    """Returns the sentences of these artifacts in their order, each once."""
    return list(dict.fromkeys(sentence for artifact in artifacts for sentence in _of(artifact)))


def warnings_digest(artifacts: Iterable[Artifact]) -> str:
    """Returns the identity, for a step's key, of the warnings that it repeats."""
    return hashlib.sha256("\n".join(warnings_of(artifacts)).encode()).hexdigest()


def _of(artifact: Artifact) -> list[str]:
    return list(load_json(artifact.file(WARNINGS))) if artifact.has(WARNINGS) else []


def _in(folder: Path) -> list[str]:
    file = folder / WARNINGS
    return list(load_json(file)) if file.is_file() else []
