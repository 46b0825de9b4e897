"""Opens a source, whatever it is: what training, scoring and `inspect` read is read by the same code.

source = open_source(DataFile(path, "mine.csv"), How(), columns={"data.text_column": "text"})
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from lib.data.source.columns import Column
from lib.data.source.compressed import compression_of
from lib.data.source.data_file import DataFile
from lib.data.source.delimited import Delimited
from lib.data.source.dialect import Dialect, find_dialect, separators_of
from lib.data.source.encoding import by_contents, can_be_read, find_encoding
from lib.data.source.endings import FORMATS, Format, known_ending
from lib.data.source.json_records import JsonRecords
from lib.data.source.kinds import HEAD_BYTES, kind_of, refuse_no_data
from lib.data.source.parquet import ParquetRows
from lib.data.source.rows import Encoding, Options, Quoting, Source
from lib.data.source.workbook import Workbook
from lib.errors import MessagesError

NAMES = ("format", "encoding", "separator", "quoting", "sheet", "bad_rows")  # of the options that errors speak of
KINDS = {"parquet": "Parquet", "jsonl": "JSON Lines", "excel": "a workbook"}
COMPRESSED = {"gzip": "gzipped", "bzip2": "bzipped", "xz": "xz-compressed", "zstd": "zstd-compressed"}
# The beginning of an object, or of a list of some, and not of a text in brackets.
JSON = re.compile(r"\s*(\{\s*[\"'}]|\[\s*[\[{])")
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, ValueError)

Item = TypeVar("Item")


def options(prefix: str) -> Options:
    """Returns what errors call the options: `--data.quoting` of a recipe, or `--quoting` of a job."""
    return {name: f"--{prefix}{name}" for name in NAMES}


@dataclass(frozen=True)
class How:
    """How a file is to be read, as far as somebody says it; None: found out.

    detect: guess at the encoding of what is not UTF-8; otherwise it is UTF-8 with rows that cannot be decoded.
    damaged_rows: read such rows, with lone surrogates in them; otherwise the file is refused with the first such byte.
    kept: what a sentence about a damaged file ends with.
    looks: what a JSON object of the file should look like, for sentences about others.
    """

    format: Format | None = None
    encoding: str | None = None
    separator: str | None = None
    quoting: Quoting | None = None
    sheet: str | None = None
    detect: bool = True
    damaged_rows: bool = False
    options: Options = field(default_factory=lambda: options("data."))
    kept: str = ""
    looks: str = '{"text": …, "label": …}'


def open_source(file: DataFile, how: How, columns: Mapping[str, Column]) -> Source:
    """Opens a file: its beginning is read, and as much of the rest as it takes to be sure what it is.

    columns: those that will be asked for, by the option that sets each; a position among them says that there is no
    header row.

    Raises MessagesError if it is no data, cannot be decoded, or nothing tells how it is written.
    """
    with readable(file, how):
        kind = _kind(file, how)
        header = not any(isinstance(column, int) for column in columns.values())
        if kind == "parquet":
            return ParquetRows(file)
        if kind == "excel":
            return Workbook(file, sheet=how.sheet, header=header, options=how.options)
        encoding = find_encoding(file, how.encoding, detect=how.detect, whole=how.detect or not how.damaged_rows)
        if encoding.damage is not None and not (how.damaged_rows and can_be_read(encoding)):
            raise MessagesError(encoding.damage)
        if kind == "jsonl":
            return JsonRecords(file, encoding, options=how.options, looks=how.looks)
        dialect = _dialect(file, encoding, how, columns)
        return Delimited(file, encoding, dialect, header=header, options=how.options)


@contextmanager
def readable(file: DataFile, how: How) -> Iterator[None]:
    """Turns what readers raise for a damaged file into one sentence."""
    try:
        yield
    except DAMAGE as error:
        kind = how.format or FORMATS.get(known_ending(file.name), "csv")
        compression = compression_of(file.path)
        said = f"{COMPRESSED[compression]} " if compression else ""
        raise MessagesError(
            f"{file.name} cannot be read as {said}{KINDS.get(kind, kind.upper())} ({' '.join(str(error).split())}):"
            f" write it again, or say what else it is with {how.options['format']}{how.kept}"
        ) from error


def read(file: DataFile, how: How, batches: Iterator[Item]) -> Iterator[Item]:
    """Passes on what a source of this file yields, and says in one sentence where it is damaged."""
    with readable(file, how):
        yield from batches


def _kind(file: DataFile, how: How) -> str | None:
    """Tells by contents what a file is, by `how` and by its name only where they do not; None: lines with fields."""
    head = file.head(HEAD_BYTES)
    found = kind_of(head)
    if found == "workbook":
        return "excel"
    ending = FORMATS.get(known_ending(file.path.name))
    if how.format == "parquet" or (how.format is None and "parquet" in (found, ending)):
        return "parquet"
    refuse_no_data(head, file.name)
    if how.format is not None:
        return "jsonl" if how.format == "jsonl" else None
    return "jsonl" if ending == "jsonl" or JSON.match(_decoded(head, how)) else None


def _decoded(head: bytes, how: How) -> str:
    encoding = how.encoding or by_contents(head).name
    return head.decode(encoding, "replace").removeprefix("\ufeff")


def _dialect(file: DataFile, encoding: Encoding, how: How, columns: Mapping[str, Column]) -> Dialect:
    ending = FORMATS.get(known_ending(file.path.name)) or FORMATS.get(known_ending(file.name))
    separators = (how.separator,) if how.separator else separators_of(how.format, first=ending)
    dialect = find_dialect(
        file,
        encoding,
        separators=separators,
        quoting=how.quoting,
        columns=list(columns.values()),
        option=how.options["quoting"],
    )
    if dialect is None and how.format is None and ending is None and file.head(1):
        raise MessagesError(
            f"the ending of the name {file.name!r} does not say how the file is written, nor do its contents:"
            f" add {how.options['format']} with tsv, csv, jsonl or parquet"
        )
    return dialect or Dialect(separators[0], how.quoting or "csv")
