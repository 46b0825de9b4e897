"""The checksum of a file."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from lib.files.checksum import file_problem, file_sha256, json_sha256, seal_holds, sealed


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_it_is_the_sha256_of_all_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "none")


def test_a_file_is_not_called_damaged_where_this_process_cannot_open_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")

    def failing_with(number: int) -> None:
        def refused(path: Path) -> str:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr("lib.files.checksum.file_sha256", refused)

    failing_with(errno.EACCES)
    assert file_problem(file, "file", 3, "") == "file cannot be read (Permission denied)"
    failing_with(errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        file_problem(file, "file", 3, "")


def test_equal_values_have_the_same_checksum_however_they_are_written() -> None:
    assert json_sha256({"a": 1, "b": [2, "ä"]}) == json_sha256({"b": (2, "ä"), "a": 1}) != json_sha256({"a": 1})


def test_a_seal_holds_until_a_field_changes() -> None:
    content = sealed({"step": 1, "losses": (0.1, float("inf")), "by_number": {10: "a", 9: "b"}})
    read = json.loads(json.dumps(content))
    assert seal_holds(read)
    for changed in ({"step": 2}, {"more": 1}, {"sha256": "0" * 64}):
        assert not seal_holds(read | changed)
    assert not seal_holds({name: value for name, value in read.items() if name != "step"})
