"""Four hundred of the bundled sample's messages, for runs of seconds."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

from lib.data.samples.messages import ARCHIVE, MEMBER


def write_small(file: Path) -> Path:
    """Writes them as a CSV file with the columns `kind` and `body`; returns the file."""
    with zipfile.ZipFile(ARCHIVE) as archive, file.open("w", newline="", encoding="utf-8") as stream:
        rows = [line.split("\t", 1) for line in archive.read(MEMBER).decode().splitlines()]
        spam = [row for row in rows if row[0] == "spam"][:100]
        writer = csv.writer(stream)
        writer.writerow(["kind", "body"])
        writer.writerows(spam + [row for row in rows if row[0] == "ham"][:300])
    return file
