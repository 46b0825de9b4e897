"""Finds the files to score, and identifies each by its contents."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib.data.source.endings import FORMATS, Format, known_ending
from lib.data.source.places import PATTERN, below
from lib.errors import MessagesError, SourceError
from lib.files.checksum import file_sha256
from lib.scoring.rows import as_utf8


@dataclass(frozen=True)
class InputFile:
    """A file to score. `name`, its path as given or as found below a given folder, appears in the answers; `format` is
    the one that was `said`, or else that of the name's ending, which counts where the contents do not tell."""

    name: str
    path: Path
    format: Format | None
    said: Format | None = None


@dataclass(frozen=True)
class Identity:
    """A file's contents when scoring began; `stamp` (inode, size, nanoseconds) is for a quick check."""

    size: int
    sha256: str
    stamp: tuple[int, int, int]

    @classmethod
    def of(cls, file: InputFile) -> Identity:
        """Reads the file once. Raises SourceError if that fails."""
        with _unreadable_is_clear(file):
            stamp = _stamp(file)
            return cls(stamp[1], file_sha256(file.path), stamp)

    def require_unchanged(self, file: InputFile) -> None:
        """Raises SourceError if the file has changed since."""
        with _unreadable_is_clear(file):
            if _stamp(file) != self.stamp:
                raise SourceError(
                    f"{file.name} was changed while it was scored: run again once nothing writes into it; finished"
                    " parts of what has not changed are kept"
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


def find_inputs(inputs: Sequence[str], *, format: Format | None, without: Path) -> list[InputFile]:
    """Returns the files that paths and patterns stand for, each once, in the given order and sorted within each.

    A folder stands for all files below it whose ending tells a format (`format` overrides it), except hidden ones and
    those whose name begins with an underscore. Files in `without`, the output, are skipped. Raises SourceError if one
    of `inputs` stands for no file, MessagesError if nothing tells a file's format.
    """
    found: dict[Path, InputFile] = {}
    output = without.absolute().resolve()
    for given in inputs:
        files = [path for path in _files(given, format) if not path.resolve().is_relative_to(output)]
        if not files:
            raise SourceError(_nothing(given, format))
        for path in files:
            found.setdefault(path.resolve(), _input_file(path, format))
    return list(found.values())


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


def files_passed_over(inputs: Sequence[str], files: Sequence[InputFile], *, without: Path) -> list[str]:
    """Returns the files in the given folders that are not among the `files` to score, such as workbooks and archives;
    not hidden ones, those whose names begin with an underscore, and what is in `without`, the output."""
    scored = {file.path.resolve() for file in files}
    output = without.absolute().resolve()
    found: dict[str, None] = {}
    for given in inputs:
        folder = Path(given).expanduser()
        for path in below(folder) if folder.is_dir() else ():
            if path.resolve() not in scored and not path.resolve().is_relative_to(output):
                found[as_utf8(path.as_posix())] = None
    return list(found)


def _nothing(given: str, format: Format | None) -> str:
    if Path(given).expanduser().is_dir():
        endings = sorted(ending for ending, kind in FORMATS.items() if format in (None, kind))
        return (
            f"{given} has no file to score: names must end with {', '.join(endings)}, perhaps with .gz, .bz2, .xz or"
            " .zst behind it"
        )
    if any(character in given for character in PATTERN):
        return f"no file fits the pattern {given}: correct it, and put it in quotes if a shell should not expand it"
    return f"{given} does not exist: give a file, a folder, or a pattern such as 'in/*.csv'"


def _input_file(path: Path, format: Format | None) -> InputFile:
    kind = format or FORMATS.get(known_ending(path.name))
    if kind is None and path.stat().st_size == 0:  # of any other file the contents may tell
        raise MessagesError(
            f"the ending of the name {str(path)!r} does not say how the file is written: add --format with tsv, csv,"
            " jsonl or parquet"
        )
    return InputFile(as_utf8(path.as_posix()), path, kind, format)


def _stamp(file: InputFile) -> tuple[int, int, int]:
    stat = file.path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
