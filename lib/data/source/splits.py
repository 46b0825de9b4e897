"""Tells by their names that files are splits of one data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def split_of(path: str) -> str | None:
    """Returns the split that a word of the file's name, or of a folder's, stands for; None if none does."""
    for part in reversed(PurePosixPath(path.lower()).parts):
        words = set(re.split(r"[^a-z]+", part))
        found = [split for split, names in WORDS.items() if words & set(names)]
        if len(found) == 1:
            return found[0]
    return None


def files_by_split(paths: Sequence[str]) -> dict[str, list[str]]:
    """Returns the files of each split, in the order train, validation, test, where train is among them and another one;
    otherwise nothing."""
    files = {split: [path for path in paths if split_of(path) == split] for split in WORDS}
    found = {split: names for split, names in files.items() if names}
    return found if "train" in found and len(found) > 1 else {}


def as_flag(files: Mapping[str, str]) -> str:
    """Writes a group of fields as the value of a flag."""
    values = (f"{split}: {_quoted(path)}" for split, path in files.items())
    return "'{" + ", ".join(values).replace("'", "'\\''") + "}'"


def pattern_of(paths: Sequence[str], others: Sequence[str]) -> str | None:
    """Returns the path, or a pattern that fits these paths and none of the others; None if their beginnings do not
    tell them apart."""
    if len(paths) == 1:
        return paths[0]
    first, last = min(paths), max(paths)  # between which all others lie
    common = (at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1])
    beginning = first[: next(common, len(first))]
    return None if any(other.startswith(beginning) for other in others) else f"{beginning}*"


def _quoted(text: str) -> str:
    """Quotes a text for YAML where it needs that."""
    plain = re.fullmatch(r"[\w./~][\w./~+*?@=-]*", text)
    return text if plain else '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
