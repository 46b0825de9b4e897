"""Looks whether files that were sent somewhere are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

Sizes = Mapping[str, int | None]  # files by their path, in bytes; of an empty one nothing may be said


def missing_upload(sent: Path, folder: str, sizes_in: Callable[[str], Sizes]) -> str | None:
    """Returns the path of a file that was sent and does not lie elsewhere with its size; None if all of them do.

    Args:
        sent: a file, or a folder with all that is below it.
        folder: where it was sent to ("": the topmost folder).
        sizes_in: the files that lie in a folder there. Asked once for each folder.
    """
    files = [sent] if sent.is_file() else sorted(path for path in sent.rglob("*") if path.is_file())
    begin = sent.parent if sent.is_file() else sent
    there: dict[str, Sizes] = {}
    for file in files:
        path = PurePosixPath(folder, file.relative_to(begin).as_posix())
        place = "/".join(path.parts[:-1])
        if place not in there:
            there[place] = sizes_in(place)
        found = there[place]
        if f"{path}" not in found or (found[f"{path}"] or 0) != file.stat().st_size:
            return f"{path}"
    return None
