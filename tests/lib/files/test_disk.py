"""A full disk, for real: /dev/full refuses every byte."""

import errno
from pathlib import Path

import pytest

from lib.errors import StoreError
from lib.files.disk import disk_full_is_clear, free_bytes, require_space, write_whole


def test_no_space_left_names_the_folder_and_what_is_free(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"No space left .* \([\d,.]+ MiB free\): free some space") as caught,
        disk_full_is_clear(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")
    assert str(tmp_path) in str(caught.value)


def test_no_space_left_when_a_buffered_file_closes_is_caught_too(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="No space left"),
        disk_full_is_clear(tmp_path / "not" / "made" / "yet"),
        Path("/dev/full").open("wb") as file,
    ):
        file.write(b"stays in the buffer until the file closes")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_used_up_quota_is_a_full_disk(tmp_path: Path, number: int) -> None:
    with pytest.raises(StoreError), disk_full_is_clear(tmp_path):
        raise OSError(number, "as the system says it")


def test_a_broken_disk_is_told_from_a_full_one(tmp_path: Path) -> None:
    said = r"The disk of .* does not take what is written .*: see what the system's log"
    with pytest.raises(StoreError, match=said), disk_full_is_clear(tmp_path):
        raise OSError(errno.EIO, "Input/output error")


def test_what_is_known_to_be_needed_is_compared_before(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "made" / "yet", free_bytes(tmp_path) // 2, "half of it")
    with pytest.raises(StoreError, match=r"MiB free, and a planet needs 1,099,511,627,776\.0 MiB\): free some space"):
        require_space(tmp_path, 2**60, "a planet")


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_full_is_clear(tmp_path):
        (tmp_path / "none").read_bytes()
    with pytest.raises(ValueError, match="mine"), disk_full_is_clear(tmp_path):
        raise ValueError("mine")


def test_a_small_file_is_the_old_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "note.json"
    write_whole(file, "old")
    written: list[str] = []

    def stopped(part: Path, target: Path) -> None:
        written.extend((part.read_text(), target.read_text()))
        raise OSError(errno.EIO, "the disk")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(OSError, match="the disk"):
            write_whole(file, "new")
    assert written == ["new", "old"]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    write_whole(file, "new")
    assert (file.read_text(), [path.name for path in tmp_path.iterdir()]) == ("new", [file.name])
