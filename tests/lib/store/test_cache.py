"""The cache of fetched files: within its size, what was used last, and never without what is in use."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from lib.store.artifacts import File
from lib.store.cache import Cache

SIZE = 1000  # bytes of each file


def content(name: str) -> bytes:
    return name[:1].encode() * SIZE


def artifact(*names: str) -> list[File]:
    """An artifact of files with these names; those that begin alike have the same bytes."""
    return [File(name=name, size=SIZE, sha256=hashlib.sha256(content(name)).hexdigest()) for name in names]


class Used:
    """A cache, and what was fetched into it."""

    def __init__(self, root: Path, limit: int) -> None:
        self.cache, self.fetched = Cache(root, limit), list[str]()

    def __call__(self, files: list[File]) -> Path:
        folder = self.cache.folder(files)
        for file in files:
            assert self.cache.file(folder, file, lambda part, name=file.name: self._fetch(part, name)).is_file()  # type: ignore[misc]
        return folder

    def _fetch(self, part: Path, name: str) -> None:
        self.fetched.append(name)
        part.write_bytes(content(name))

    def there(self) -> int:
        return len(list((self.cache.root / "artifacts").iterdir()))


@pytest.fixture
def used(tmp_path: Path) -> Used:
    return Used(tmp_path / "cache", 3 * SIZE)


def test_what_is_the_same_in_two_artifacts_is_fetched_and_kept_once(used: Used) -> None:
    first, second = used(artifact("data/a", "same")), used(artifact("b", "same too"))
    assert used.fetched == ["data/a", "same", "b"]
    assert used.cache.size() == 3 * SIZE
    assert (first / "same").read_bytes() == (second / "same too").read_bytes() == content("same")
    assert used(artifact("data/a", "same")) == first
    assert len(used.fetched) == 3


def test_what_was_used_longest_ago_goes_first_and_nothing_that_is_in_use(used: Used) -> None:
    for name in ("a", "b", "c"):
        used(artifact(name))
    used(artifact("d"))
    assert used.cache.size() == 4 * SIZE  # all of them are in use
    used.cache.release()
    used(artifact("a"))  # used again: b is the oldest now
    used(artifact("e"))
    assert used.fetched == ["a", "b", "c", "d", "e"]
    assert used.cache.size() == 3 * SIZE
    used.cache.release()
    for name in ("a", "d", "e"):
        used(artifact(name))
    assert len(used.fetched) == 5


def test_what_is_damaged_here_is_fetched_again(used: Used) -> None:
    place = used(artifact("a")) / "a"
    place.write_bytes(b"x" * SIZE)
    used(artifact("a"))
    assert used.fetched == ["a", "a"]
    assert place.read_bytes() == content("a")


def test_what_cannot_be_fetched_leaves_nothing_behind(used: Used) -> None:
    (file,) = artifact("a")

    def cut(part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        used.cache.file(used.cache.folder([file]), file, cut)
    assert used.cache.size() == 0


def test_files_that_were_made_here_are_taken_without_fetching(used: Used, tmp_path: Path) -> None:
    files = artifact("a", "figures/b")
    (tmp_path / "made" / "figures").mkdir(parents=True)
    for file in files:
        (tmp_path / "made" / file.name).write_bytes(content(file.name.rpartition("/")[2]))
    files[1] = files[1].model_copy(update={"sha256": hashlib.sha256(content("b")).hexdigest()})
    used.cache.take(tmp_path / "made", files, files)
    used(files)
    assert used.fetched == []


HOLD = """
import pathlib, sys
from lib.store.cache import Cache
from lib.store.artifacts import File
Cache(pathlib.Path(sys.argv[1]), 0).folder([File.model_validate_json(text) for text in sys.argv[2:]])
print("held", flush=True)
sys.stdin.read()
"""


def test_what_another_process_uses_stays(used: Used) -> None:
    files = artifact("a")
    used(files)
    used.cache.release()
    command = [sys.executable, "-c", HOLD, str(used.cache.root), *(file.model_dump_json() for file in files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        used.cache.make_room(3 * SIZE)
        assert used.there() == 1
        child.communicate(b"")
    used.cache.make_room(3 * SIZE)
    assert (used.there(), used.cache.size()) == (0, 0)
