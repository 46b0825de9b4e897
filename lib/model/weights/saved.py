"""Reads what a saved model says of its own use, `inference.json`, without the classes that wrote it."""

from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.model.weights.folder import read_fields

INFERENCE = "inference.json"  # all that using the model needs beside its weights, their shape and its labels


class SavedFields:
    """The fields of one JSON object in a file; raises `WeightsError` if there is none."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise WeightsError(f"{file} does not exist: a model's folder must have it, so train the model again")
        self._file, self._fields = file, read_fields(file)

    def get(self, path: str, kind: Any) -> Any:
        """The value at a dotted path, such as "prompt.before_input"; raises `WeightsError` if it is no `kind`.

        `kind` is what `isinstance` takes. A field that is not there is None; true and false are not numbers.
        """
        value: Any = self._fields
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(path, value)
        return value

    def wrong(self, path: str, value: Any) -> WeightsError:
        """The error for a value that the field at `path` cannot have."""
        return WeightsError(f"{self._file} has {path} = {value!r}: train the model again")
