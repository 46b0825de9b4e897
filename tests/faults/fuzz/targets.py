"""Holds what is fuzzed: each target takes the bytes of a file or a request and does with them what the program does.

A target returns nothing. It raises what the code under it raises; `allowed.attempt` says what of that is a finding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from lib.errors import FinetuneError
from tests.faults.fuzz.allowed import Finding, require_sentence

SMALL = 2**22  # bytes that an archive may unpack to here: bombs are another test's


@cache
def _folder() -> Path:
    """The folder of this process for its one file."""
    kept = tempfile.TemporaryDirectory(prefix="finetune-fuzz-")
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


def _file(name: str, data: bytes) -> Path:
    file = _folder() / name
    file.write_bytes(data)
    return file


def _each(*works: Callable[[], object]) -> None:
    """Does all of these, and raises the last error that is a sentence: one that refuses must not spare the others."""
    refused: FinetuneError | None = None
    for work in works:
        try:
            work()
        except FinetuneError as error:
            if refused is not None:
                require_sentence(str(refused), refused)
            refused = error
    if refused is not None:
        raise refused


def _drain(items: Iterator[Any]) -> None:
    for _ in items:
        pass


def archive(data: bytes) -> None:
    """Unpacks what was downloaded: zip, tar, gzip, bzip2, xz, zstandard."""
    from lib.data.source.archive import unpacked

    def taken(**how: Any) -> None:
        _, chunks = unpacked(BytesIO(data), "data.bin", size_limit=SMALL, **how)
        _drain(chunks)

    _each(lambda: taken(), lambda: taken(member="data.csv", nameable="splits"))


def _read(file: Path) -> None:
    """Reads a file as messages, by the names of columns and by their positions, and as entries of instructions."""
    from lib.data.entries.reading import read_entries
    from lib.data.messages.reading import LabelledRows
    from lib.data.source.data_file import DataFile
    from lib.data.source.reader import How, open_source

    source = DataFile(file, file.name)

    def rows(text: Any, label: Any, bad_rows: Any) -> None:
        _drain(iter(LabelledRows(source, How(), text_column=text, label_column=label, bad_rows=bad_rows)))

    def first_columns() -> None:
        columns = open_source(source, How(damaged_rows=True), {}).form.columns
        if columns:
            rows(columns[0], columns[-1], "drop")

    _each(
        lambda: rows("text", "label", "error"),
        lambda: rows(0, 1, "drop"),
        first_columns,
        lambda: read_entries(file, empty_text="drop", bad_rows="drop"),
    )


def delimited(data: bytes) -> None:
    """Reads a text of rows with fields, of which nothing is said."""
    _read(_file("data.csv", data))


def json(data: bytes) -> None:
    """Reads JSON, in lines or however it is laid out."""
    _read(_file("data.json", data))


def parquet(data: bytes) -> None:
    """Reads a Parquet file."""
    _read(_file("data.parquet", data))


def safetensors(data: bytes) -> None:
    """Reads the tensors of a file of weights."""
    from lib.model.weights.tensors import Safetensors, require_finite

    stored = Safetensors([_file("model.safetensors", data)])
    for name, (shape, _) in stored.contents().items():
        tensor = stored.read(name)
        if tuple(tensor.shape) != shape:
            raise Finding("another shape than the header's", f"{tuple(tensor.shape)} for {shape}")
        require_finite(tensor, name, stored.where)


def recipe(data: bytes) -> None:
    """Builds recipes of each kind from a file; what was resolved, read back, is the same."""
    from lib.recipes.classify import ClassifyRecipe
    from lib.recipes.instruct import InstructRecipe
    from lib.recipes.reading import load_recipe

    file = _file("mine.yaml", data)

    def built(model: Any, folder: str) -> None:
        resolved = load_recipe(str(file), folder=folder, model=model)
        read_back = type(resolved).model_validate_json(resolved.model_dump_json())
        if read_back != resolved:
            raise Finding("a resolved recipe that is not the same when read back", str(resolved)[:200])

    _each(lambda: built(ClassifyRecipe, "classify"), lambda: built(InstructRecipe, "instruct"))


def http(data: bytes) -> None:
    """Sends a body to the paths that take one; bytes that begin as a request of HTTP go to the server as they are."""
    from tests.faults.fuzz.asked import server

    server().ask(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (archive, delimited, json, parquet, safetensors, recipe, http)
}
