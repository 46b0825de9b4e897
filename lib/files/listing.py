"""A folder's files with their checksums, in a file among them, so that what changes afterwards is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.errors import WeightsError, listed
from lib.files.checksum import OF_THE_MACHINE, SEAL, file_problem, file_sha256, seal_holds, sealed
from lib.files.jsonfile import read_strange_json, save_json

LISTING = "checksums.json"
SHA256_TAG = "finetune.sha256"  # of a logged model and of a version: the list's own checksum
COMPILED = "__pycache__"  # what Python adds to a folder with code that it imports
MOST_NAMED = 3  # problems in one sentence


def write_listing(folder: Path) -> str:
    """Writes size and checksum of each file in the folder, at any depth, into `LISTING` there; returns that list's own
    checksum."""
    files = {name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for name, path in _files(folder)}
    content = sealed({"files": files})
    save_json(content, folder / LISTING)
    return str(content[SEAL])


def read_listing(folder: Path) -> dict[str, Any]:
    """Returns the folder's list with its own checksum; raises OSError if it cannot be read, ValueError if it was
    changed."""
    content = read_strange_json(folder / LISTING)
    if not isinstance(content, dict) or not seal_holds(content):
        raise ValueError("it was changed")
    return content


def problems(folder: Path, seal: str | None = None) -> dict[str, str]:
    """Returns what is wrong with a folder that has a list, by file: changed, missing, unreadable, or not listed, except
    directly in the folder, where MLflow adds some.

    `seal`: the list's own checksum, where that is known from elsewhere. What a process has found whole it reads again
    only once that has changed. Raises OSError if it cannot be told, because too many files are open.
    """
    try:
        content = read_listing(folder)
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise
        return {LISTING: f"{LISTING} cannot be read ({error.strerror})"}
    except ValueError:
        return {LISTING: f"{LISTING} is damaged"}
    if seal is not None and content[SEAL] != seal:
        return {LISTING: f"{LISTING} is of other files"}
    files = content["files"]
    found = {name: file_problem(folder / name, name, file["size"], file["sha256"]) for name, file in files.items()}
    strange = {name: f"{name} does not belong there" for name, _ in _files(folder) if "/" in name and name not in files}
    return {name: problem for name, problem in (found | strange).items() if problem}


def require_unchanged(folder: Path) -> None:
    """Raises WeightsError if a file of the folder is not as its list has it."""
    wrong = list(problems(folder).values())
    if wrong:
        raise WeightsError(
            f"the model in {folder} is damaged or was changed ({listed(wrong, most=MOST_NAMED)}): restore its files,"
            " or choose another version"
        )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields all files that belong on the list, by their path in the folder."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and COMPILED not in parts and parts != (LISTING,):
            yield "/".join(parts), path
