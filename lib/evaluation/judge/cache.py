"""Caches a judge's replies on disk, so that no question is asked twice."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib.errors import StoreError
from lib.files.disk import disk_full_is_clear, give_way


class ReplyCache:
    """A folder with one JSON file per reply: `{"asked": ..., "reply": ..., "sha256": ...}`, named by the hash of
    `asked`; the checksum is that of both.

    Files are written atomically, so any number of writers and readers may share the folder. A damaged file counts as
    missing, after a `warn`, and the next reply replaces it. A reply that is no score is cached too.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda sentence: None) -> None:
        self._folder = folder
        self._warn = warn

    def find(self, asked: Mapping[str, Any]) -> str | None:
        """Returns the reply to exactly this question, or None."""
        file = self._file(asked)
        try:
            return _reply_to(asked, json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._warn(f"The judge's reply in {file} is damaged ({error}): the question is asked again")
            return None

    def keep(self, asked: Mapping[str, Any], reply: str) -> None:
        """Stores a reply, replacing an earlier one; raises StoreError if that fails."""
        kept = {"asked": asked, "reply": reply, "sha256": _sha256([asked, reply])}
        text = json.dumps(kept, indent=2, sort_keys=True) + "\n"
        try:
            with disk_full_is_clear(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._replace(self._file(asked), text)
        except OSError as error:
            raise StoreError(
                f"The judge's replies cannot be kept in {self._folder} ({error.strerror}):"
                " make the folder writable, or choose another one"
            ) from error

    def _replace(self, file: Path, text: str) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self._folder, prefix=".", suffix=".part", delete=False) as part:
            written = Path(part.name)
            try:
                part.write(text)
                part.close()
                give_way(file)
                written.replace(file)
            except BaseException:
                written.unlink(missing_ok=True)
                raise

    def _file(self, asked: Mapping[str, Any]) -> Path:
        return self._folder / f"{_sha256(asked)}.json"


def _reply_to(asked: Mapping[str, Any], found: Any) -> str:
    """Raises ValueError if this is not what `keep` wrote for the question."""
    if not isinstance(found, dict) or not isinstance(found.get("reply"), str):
        raise ValueError("it holds no reply")
    if _canonical(found.get("asked")) != _canonical(asked):
        raise ValueError("it holds the reply to another question")
    if found.get("sha256") != _sha256([asked, found["reply"]]):
        raise ValueError("the reply is not the one that was kept")
    return str(found["reply"])


def _sha256(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def _canonical(value: Any) -> str:
    """One ASCII text for one JSON value: it may contain lone surrogates, which UTF-8 cannot hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
