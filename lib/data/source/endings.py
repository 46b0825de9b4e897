"""What the ending of a file's name says about its format.

A module of its own, because fetching a file asks for this too, and must neither load nor depend on what parses it.
"""

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
    """The one of FORMATS that `name` ends with, in any case and perhaps with `.gz` behind it; "" if there is none."""
    ending = PurePosixPath(re.sub(r"\.gz(ip)?$", "", name, flags=re.IGNORECASE)).suffix.lower()
    return ending if ending in FORMATS else ""
