"""Maps a file name's ending to a format, without loading any parser."""

import re
from pathlib import PurePosixPath
from typing import Literal

COMPRESSED = re.compile(r"\.(gz|gzip|bz2|bzip2|xz|zst|zstd)$", re.IGNORECASE)

Format = Literal["tsv", "csv", "jsonl", "parquet"]

FORMATS: dict[str, Format] = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}

TOLD_BY_CONTENTS = {".json": "json", **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "workbook")}


def data_kind(name: str) -> str | None:
    """Returns the format that a name's ending tells, or the kind that a file has whose contents tell the rest; None for
    any other file."""
    ending = PurePosixPath(COMPRESSED.sub("", name)).suffix.lower()
    return FORMATS.get(ending) or TOLD_BY_CONTENTS.get(ending)


def known_ending(name: str) -> str:
    """Returns the ending in FORMATS that `name` has, in any case and perhaps before `.gz` or the like; "" if
    none."""
    ending = PurePosixPath(COMPRESSED.sub("", name)).suffix.lower()
    return ending if ending in FORMATS else ""
