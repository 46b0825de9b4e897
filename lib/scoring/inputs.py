"""Finds the files to score, on this machine and in object stores, and identifies each by its contents."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lib.data.source.endings import FORMATS, Format, known_ending
from lib.data.source.objects import is_object
from lib.data.source.places import PATTERN, below
from lib.errors import MessagesError, SourceError
from lib.files.checksum import file_sha256
from lib.scoring import objects
from lib.scoring.rows import as_utf8


@dataclass(frozen=True)
class InputFile:
    """A file to score. `name`, its path as given or as found below a given folder, appears in the answers; `format` is
    the one that was `said`, or else that of the name's ending, which counts where the contents do not tell. `state`: of
    an object, whose address is the name, what its store said of it; `path` is then that of its copy, once it has one
    (see `lib.scoring.copies`)."""

    name: str
    path: Path
    format: Format | None
    said: Format | None = None
    state: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Identity:
    """A file's contents when scoring began: their SHA-256, or what an object's store says of it. `stamp` (inode, size,
    nanoseconds) is for a quick check."""

    contents: str | Mapping[str, str]
    stamp: tuple[int, int, int] | None

    @classmethod
    def of(cls, file: InputFile) -> Identity:
        """Reads the file once. Raises SourceError if that fails."""
        if file.state is not None:
            return cls(file.state, None)
        with _unreadable_is_clear(file):
            stamp = _stamp(file)
            return cls(file_sha256(file.path), stamp)

    def require_unchanged(self, file: InputFile) -> None:
        """Raises SourceError if the file has changed since."""
        if file.state is not None:
            if objects.current_state(file.name) != self.contents:
                raise changed(file.name)
            return
        with _unreadable_is_clear(file):
            if _stamp(file) != self.stamp:
                raise changed(file.name)


def changed(name: str) -> SourceError:
    """Returns the error of a file that is not what it was when scoring began."""
    return SourceError(
        f"{name} was changed while it was scored: run again once nothing writes into it; finished parts of what has not"
        " changed are kept"
    )


@contextmanager
def _unreadable_is_clear(file: InputFile) -> Iterator[None]:
    """Turns an OSError into a SourceError."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{file.name} cannot be read ({error.strerror}): allow reading it, or leave it out"
        ) from error


def find_inputs(inputs: Sequence[str], *, format: Format | None, without: str | Path) -> list[InputFile]:
    """Returns the files that paths, addresses of objects and patterns stand for, each once, in the given order and
    sorted within each.

    A folder stands for all files below it whose ending tells a format (`format` overrides it), except hidden ones and
    those whose name begins with an underscore. Files in `without`, the output, are skipped. Raises SourceError if one
    of `inputs` stands for no file or cannot be asked, MessagesError if nothing tells a file's format.
    """
    found: dict[str, InputFile] = {}
    output = _Output(without)
    for given in inputs:
        files = _objects(given, format, output) if is_object(given) else _local(given, format, output)
        if not files:
            raise SourceError(_nothing(given, format))
        for place, file in files.items():
            found.setdefault(place, file)
    return list(found.values())


class _Output:
    """What is not read, because it is written: a folder, or what is in a bucket below an address."""

    def __init__(self, place: str | Path) -> None:
        self._address = f"{place}".rstrip("/") + "/" if is_object(f"{place}") else None
        self._folder = None if self._address else Path(place).expanduser().absolute().resolve()

    def has(self, file: Path) -> bool:
        """Whether a file of this machine lies in it."""
        return self._folder is not None and file.resolve().is_relative_to(self._folder)

    def has_object(self, address: str) -> bool:
        """Whether an object lies in it."""
        return self._address is not None and address.startswith(self._address)


def _objects(given: str, format: Format | None, output: _Output) -> dict[str, InputFile]:
    """Returns objects by their addresses."""
    return {
        address: _checked(InputFile(address, Path(PurePosixPath(address).name), _kind(address, format), format, state))
        for address, state in objects.find(given, format).items()
        if not output.has_object(address)
    }


def _local(given: str, format: Format | None, output: _Output) -> dict[str, InputFile]:
    """Returns files of this machine by their real paths."""
    return {
        str(path.resolve()): _checked(InputFile(as_utf8(path.as_posix()), path, _kind(path.name, format), format))
        for path in _files(given, format)
        if not output.has(path)
    }


def _kind(name: str, format: Format | None) -> Format | None:
    return format or FORMATS.get(known_ending(name))


def _checked(file: InputFile) -> InputFile:
    """Raises MessagesError for an empty file whose format nothing tells; of any other one the contents may."""
    if file.format is not None:
        return file
    size = file.path.stat().st_size if file.state is None else int(file.state.get("content_length", 1))
    if size == 0:
        raise MessagesError(
            f"the ending of the name {file.name!r} does not say how the file is written: add --format with tsv, csv,"
            " jsonl or parquet"
        )
    return file


def _files(given: str, format: Format | None) -> Iterator[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        yield from _below(path, format)
    elif path.exists():
        yield path
    elif any(character in given for character in PATTERN):
        for match in sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 - keeps the path as it was given
            yield from _below(Path(match), format) if Path(match).is_dir() else [Path(match)]


def _below(folder: Path, format: Format | None) -> Iterator[Path]:
    for path in below(folder):
        kind = FORMATS.get(known_ending(path.name))
        if kind is not None and format in (None, kind):
            yield path


def files_passed_over(inputs: Sequence[str], files: Sequence[InputFile], *, without: str | Path) -> list[str]:
    """Returns the files in the given folders that are not among the `files` to score, such as workbooks and archives;
    not hidden ones, those whose names begin with an underscore, and what is in `without`, the output."""
    scored = {file.path.resolve() for file in files if file.state is None} | {file.name for file in files if file.state}
    output = _Output(without)
    found: dict[str, None] = {}
    for given in inputs:
        if is_object(given):
            left = (each for each in objects.below(given) if each not in scored and not output.has_object(each))
            found |= dict.fromkeys(left)
            continue
        folder = Path(given).expanduser()
        for path in below(folder) if folder.is_dir() else ():
            if path.resolve() not in scored and not output.has(path):
                found[as_utf8(path.as_posix())] = None
    return list(found)


def _nothing(given: str, format: Format | None) -> str:
    if any(character in given for character in PATTERN) and not Path(given).expanduser().is_dir():
        return f"no file fits the pattern {given}: correct it, and put it in quotes if a shell should not expand it"
    if is_object(given) or Path(given).expanduser().is_dir():
        endings = sorted(ending for ending, kind in FORMATS.items() if format in (None, kind))
        return (
            f"{given} has no file to score: names must end with {', '.join(endings)}, perhaps with .gz, .bz2, .xz or"
            " .zst behind it"
        )
    return f"{given} does not exist: give a file, a folder, or a pattern such as 'in/*.csv'"


def _stamp(file: InputFile) -> tuple[int, int, int]:
    stat = file.path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
