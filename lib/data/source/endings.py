"""Maps a file name's ending to a format, without loading any parser."""

import re
from pathlib import PurePosixPath
from typing import Literal

Format = Literal["tsv", "csv", "jsonl", "parquet"]

FORMATS: dict[str, Format] = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def known_ending(name: str) -> str:
    """Returns the ending in FORMATS that `name` has, in any case and perhaps before `.gz`; "" if none."""
    ending = PurePosixPath(re.sub(r"\.gz(ip)?$", "", name, flags=re.IGNORECASE)).suffix.lower()
    return ending if ending in FORMATS else ""
