"""Finds the files that a folder or a pattern stands for, in the order of their paths."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lib.data.source.endings import FORMATS, TOLD_BY_CONTENTS, data_kind
from lib.data.source.objects import find_objects, is_object
from lib.data.source.splits import as_flag, files_by_split, pattern_of
from lib.data.source.transfer import AddressError
from lib.errors import RecipeError, SourceError, listed
from lib.secrets import revealed

PATTERN = "*?["
LOOK_SECONDS = 10.0  # for the list of a folder in an object store
MOST_FILES = 10_000  # of one source; each is fetched, and has its checksum in the key


@dataclass(frozen=True)
class Found:
    """The files that an address, a folder or a pattern stands for, and those beside them that are not read."""

    files: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


def has_pattern(given: str) -> bool:
    """Whether a path has a character that stands for others."""
    return any(character in given for character in PATTERN)


def find_files(given: str, field: str, *, by_split: bool) -> Found:
    """Returns the files of a folder or a pattern, on this machine or in an object store, or the address itself.

    A folder stands for all files below it whose ending tells a format; names that begin with a dot or an underscore do
    not count, such as Spark's `_SUCCESS`. A pattern stands for what it fits, and `**` in it for any folders.

    Raises SourceError if there is none, or more than 10,000; and for a folder whose files have several formats, or are
    splits of a data set, because they do not belong into one.

    field: of the recipe, for errors. by_split: whether the recipe could name splits.
    """
    try:
        whole = revealed(given)
    except RecipeError:
        return Found((given,))  # left to the download
    found = _found(whole, field, by_split=by_split)
    return Found((given,)) if found.files == (whole,) else found


def _found(given: str, field: str, *, by_split: bool) -> Found:
    if is_object(given):
        return _objects(given, field, by_split=by_split)
    folder = Path(os.path.expanduser(given))  # noqa: PTH111 - pathlib raises for the "~" of an unknown user
    try:
        is_folder, is_there = folder.is_dir(), folder.exists()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return Found((given,))
    if is_folder:
        names = [path.relative_to(folder).as_posix() for path in sorted(below(folder))]
        return _folder(given, names, field, by_split=by_split)
    if is_there or "://" in given or not has_pattern(given):
        return Found((given,))
    return Found(_counted([f"{path}" for path in matching(given)], given, field))


def _objects(given: str, field: str, *, by_split: bool) -> Found:
    """Does as `find_files` for an address of an object store; one that does not answer is left to the download."""
    try:
        found = find_objects(given, timeout=LOOK_SECONDS)
    except AddressError:
        return Found((given,))
    if found == [given]:
        return Found((given,))
    if has_pattern(given):
        return Found(_counted(found, given, field))
    folder = given.rstrip("/")
    inside = [address.removeprefix(f"{folder}/") for address in found]
    return _folder(folder, [name for name in inside if not is_hidden(name)], field, by_split=by_split)


def _folder(folder: str, names: Sequence[str], field: str, *, by_split: bool) -> Found:
    """Returns the data files of a folder, given the sorted paths in it."""
    taken = [name for name in names if data_kind(name)]
    _refuse_splits(folder, taken, field, by_split=by_split)
    _require_one_format(folder, taken, field)
    files = _counted([_inside(folder, name) for name in taken], folder, field)
    return Found(files, tuple(name for name in names if not data_kind(name)))


def _inside(folder: str, name: str) -> str:
    """Returns the path or address of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}"


def is_hidden(name: str) -> bool:
    """Whether a path, or a folder in it, has a name that begins with a dot or an underscore."""
    return any(part[0] in "._" for part in name.split("/") if part)


def below(folder: Path) -> Iterator[Path]:
    """Yields the files in a folder and the folders in it, sorted; not those whose names begin with a dot or an
    underscore."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        yield from (Path(place) / name for name in sorted(names) if name[0] not in "._")


def matching(pattern: str) -> Iterator[Path]:
    """Yields the files that a pattern fits, sorted, and the files below the folders that it fits."""
    # glob keeps the path as it was given.
    for match in sorted(glob.glob(os.path.expanduser(pattern), recursive=True)):  # noqa: PTH111, PTH207
        if not Path(match).is_dir():
            yield Path(match)
        elif not pattern.rstrip("/").endswith("**"):  # which fits what is below them too
            yield from sorted(below(Path(match)))


def _counted(files: Sequence[str], given: str, field: str) -> tuple[str, ...]:
    if not files:
        ending = (
            f"names must end with {', '.join((*FORMATS, *TOLD_BY_CONTENTS))}"
            if not has_pattern(given)
            else "correct it"
        )
        kind = "no file fits the pattern" if has_pattern(given) else "there is no data file in the folder"
        raise SourceError(f"{kind} {given}: {ending}; check {field}")
    if len(files) > MOST_FILES:
        raise SourceError(
            f"{given} stands for {len(files):,} files, and at most {MOST_FILES:,} are read: put them together"
        )
    return tuple(dict.fromkeys(files))


def _refuse_splits(folder: str, names: Sequence[str], field: str, *, by_split: bool) -> None:
    splits = files_by_split(names)
    if splits:
        way_out = f"name each split{_splits_flag(folder, splits)}" if by_split else f"name the files to read in {field}"
        raise SourceError(
            f"the folder {folder} has files of {' and '.join(splits)} ({listed(names, most=4)}), which are no one data"
            f" set: {way_out}"
        )


def _require_one_format(folder: str, names: Sequence[str], field: str) -> None:
    formats = sorted({str(data_kind(name)) for name in names})
    if len(formats) > 1:
        raise SourceError(
            f"the folder {folder} has files of several formats ({', '.join(formats)}), perhaps with the same rows: say"
            f" which with a pattern in {field}, such as {_inside(folder, '*')}{PurePosixPath(names[0]).suffix}"
        )


def _splits_flag(folder: str, splits: Mapping[str, Sequence[str]]) -> str:
    patterns = {}
    for split, names in splits.items():
        others = [name for other, files in splits.items() if other != split for name in files]
        pattern = pattern_of(names, others)
        if pattern is None:
            return " in data.files"
        patterns[split] = _inside(folder, pattern)
    return f" with --data.files {as_flag(patterns)}"
