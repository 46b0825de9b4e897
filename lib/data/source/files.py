"""Names the fetched files of a run, as the step `download` notes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.data.source.data_file import DataFile

SOURCE = "source"  # the only file, under this name without its ending; several: "train-0", "train-1", "test-0"


def source_files(places: Sequence[Path], sources: Mapping[str, Mapping[str, Any]]) -> dict[str, list[DataFile]]:
    """Returns the files of each split; what is to be divided is all in train.

    A file is called by its original name, or by its address where two have the same name.

    places: the files. sources: of each, by its name without ending, its own `name` and `address`, in their order.
    """
    place_of = {path.stem: path for path in places}
    named = Counter(source["name"] for source in sources.values())
    files: dict[str, list[DataFile]] = {}
    for key, source in sources.items():
        split = "train" if key == SOURCE else key.partition("-")[0]
        name = source["name"] if named[source["name"]] == 1 else source["address"]
        files.setdefault(split, []).append(DataFile(place_of[key], name))
    return files
