"""Finds the files that the step `download` fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.source.data_file import DataFile
from lib.data.source.files import source_files
from lib.files.jsonfile import load_json

if TYPE_CHECKING:
    from lib.store.artifacts import Artifact


def fetched_files(download: Artifact) -> dict[str, list[DataFile]]:
    """Returns the files of each split, with the names that errors call them by; what is to be divided is all in
    train."""
    return source_files(list(download.file("data").iterdir()), load_json(download.file("source.json")))
