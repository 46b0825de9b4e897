"""Reads `inference.json`, a saved model's own description of its use, without the classes that wrote it."""

from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.model.weights.folder import read_fields

INFERENCE = "inference.json"  # what using the model needs besides its weights, shape and labels


class SavedFields:
    """The fields of a JSON file; raises `WeightsError` if there is no such file or object."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise WeightsError(f"{file} does not exist: a model's folder must have it, so train the model again")
        self._file, self._fields = file, read_fields(file)

    def get(self, path: str, kind: Any) -> Any:
        """Returns the value at a dotted path, such as "prompt.before_input"; raises `WeightsError` if it is no `kind`.
        `kind` is as for `isinstance`, except that booleans are not numbers. A missing field is None."""
        value: Any = self._fields
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(path, value)
        return value

    def wrong(self, path: str, value: Any) -> WeightsError:
        """Returns the error for an invalid value at `path`."""
        return WeightsError(f"{self._file} has {path} = {value!r}: train the model again")
