"""The artifact store: whole or not at all, checked on reading, one writer at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.errors import StoreError
from lib.files.checksum import SEAL
from lib.store.artifacts import MANIFEST, Artifact, key_of
from lib.store.folder import FolderStore

INGREDIENTS = {"step": "split", "fields": {"split.seed": 123}, "inputs": {}, "code": {}}
KEY = key_of(INGREDIENTS)


def publish(store: FolderStore, text: str = "hello", key: str = KEY, seconds: str = "1.5") -> Artifact:
    with store.write("split", key, INGREDIENTS, noted=("times.txt",)) as folder:
        (folder / "train.txt").write_text(text)
        (folder / "figures").mkdir()
        (folder / "figures" / "loss.txt").write_text("curve")
        (folder / "times.txt").write_text(seconds)
    artifact = store.find("split", key)
    assert artifact is not None
    return artifact


def test_a_published_artifact_is_found_with_all_its_files(store: FolderStore) -> None:
    artifact = publish(store)
    names = sorted(path.relative_to(artifact.folder).as_posix() for path in artifact.folder.rglob("*"))
    assert names == ["figures", "figures/loss.txt", MANIFEST, "times.txt", "train.txt"]
    assert artifact.folder == store.root / "split" / KEY
    manifest = store.manifest("split", KEY)
    assert [(file.name, file.size, file.noted) for file in manifest.files] == [
        ("figures/loss.txt", 5, False),
        ("times.txt", 3, True),
        ("train.txt", 5, False),
    ]
    assert manifest.ingredients == INGREDIENTS
    assert manifest.versions["python"] == sys.version.split()[0]


def edit(artifact: Artifact, *, seal: bool = True, **fields: object) -> None:
    """Changes fields of an artifact's manifest, which keeps its checksum (`seal`), or has none as before there was."""
    content = json.loads(artifact.file(MANIFEST).read_text()) | fields
    content = content if seal else {name: value for name, value in content.items() if name != SEAL}
    artifact.file(MANIFEST).write_text(json.dumps(content))


def replace_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def test_a_manifest_from_before_it_had_a_checksum_of_itself_is_believed(store: FolderStore) -> None:
    artifact = publish(store)
    edit(artifact, seal=False)
    assert FolderStore(store.root).find("split", KEY) == artifact


def test_an_artifact_that_has_become_a_file_is_replaced_whole(store: FolderStore) -> None:
    artifact = publish(store)
    shutil.rmtree(artifact.folder)
    artifact.folder.write_text("damage")
    assert store.find("split", KEY) is None
    assert publish(store) == artifact
    assert [path.name for path in (store.root / "split").iterdir()] == [KEY]


def test_the_digest_is_that_of_the_bytes(store: FolderStore) -> None:
    one, same, other = publish(store), publish(store, key="a" * 32), publish(store, "hullo", key="b" * 32)
    assert one.digest == same.digest != other.digest


def test_noted_files_are_kept_and_checked_but_not_digested(store: FolderStore) -> None:
    one, later = publish(store), publish(store, key="a" * 32, seconds="9.9")
    assert one.digest == later.digest
    later.file("times.txt").write_text("8.8")
    assert store.find("split", "a" * 32) is None


def test_nothing_is_found_that_was_not_published(store: FolderStore) -> None:
    assert store.find("split", KEY) is None


def test_an_exception_while_writing_leaves_nothing(store: FolderStore) -> None:
    def fail_half_way() -> None:
        with store.write("split", KEY, INGREDIENTS) as folder:
            (folder / "train.txt").write_text("half")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert list((store.root / "split").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda a: a.file("train.txt").unlink(), "train.txt is missing"),
        (lambda a: a.file("train.txt").write_text("hellO"), "train.txt does not have its checksum"),
        (lambda a: a.file("train.txt").write_text("hello!"), "train.txt has 6 bytes instead of 5"),
        (lambda a: a.file("figures/loss.txt").unlink(), "figures/loss.txt is missing"),
        (lambda a: shutil.rmtree(a.file("figures")), "figures/loss.txt is missing"),
        (lambda a: a.file(MANIFEST).unlink(), f"{MANIFEST} is missing or damaged"),
        (lambda a: a.file(MANIFEST).write_text("{"), f"{MANIFEST} is missing or damaged"),
        (lambda a: edit(a, digest="0" * 64), f"{MANIFEST} is missing or damaged"),
        (
            lambda a: edit(a, ingredients={**INGREDIENTS, "fields": {"split.seed": 124}}),
            f"{MANIFEST} is missing or dam",
        ),
        (lambda a: edit(a, notes={"tracking_run": "another"}), f"{MANIFEST} is missing or damaged"),
        (lambda a: edit(a, created="2020-01-01T00:00:00Z"), f"{MANIFEST} is missing or damaged"),
        (lambda a: edit(a, seal=False, digest="0" * 64), f"{MANIFEST} does not belong"),
        (lambda a: a.file(MANIFEST).write_bytes(b"\xff"), f"{MANIFEST} is missing or damaged"),
        (lambda a: a.file(MANIFEST).write_text("[]"), f"{MANIFEST} is missing or damaged"),
        (lambda a: replace_by_a_folder(a.file(MANIFEST)), f"{MANIFEST} is missing or damaged"),
        (lambda a: replace_by_a_folder(a.file("train.txt")), "train.txt"),
    ],
)
def test_damage_is_a_miss_and_the_warning_names_the_file(
    store: FolderStore, warnings_heard: list[str], damage: Callable[[Artifact], object], named: str
) -> None:
    artifact = publish(store)
    damage(artifact)
    assert FolderStore(store.root, warn=warnings_heard.append).find("split", KEY) is None
    assert len(warnings_heard) == 1
    assert named in warnings_heard[0]


def test_a_damaged_artifact_is_replaced_whole(store: FolderStore) -> None:
    digest = publish(store).digest
    (store.root / "split" / KEY / "train.txt").write_text("damage")
    assert publish(store).digest == digest
    assert [path.name for path in (store.root / "split").iterdir()] == [KEY]


def test_a_whole_artifact_is_never_changed(store: FolderStore) -> None:
    first = publish(store)
    inode = first.file("train.txt").stat().st_ino
    assert publish(store, "other bytes").digest == first.digest
    assert first.file("train.txt").stat().st_ino == inode


def test_a_copied_store_keeps_its_artifacts(store: FolderStore, tmp_path: Path) -> None:
    artifact = publish(store)
    shutil.copytree(store.root, tmp_path / "elsewhere")
    shutil.rmtree(store.root)
    moved = FolderStore(tmp_path / "elsewhere").find("split", KEY)
    assert moved is not None
    assert (moved.digest, moved.folder) == (artifact.digest, tmp_path / "elsewhere" / "split" / KEY)


def test_keys_do_not_depend_on_the_order_of_ingredients() -> None:
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1}) != key_of({"a": 1})


def test_scratch_outlives_an_interruption_and_goes_with_success(store: FolderStore) -> None:
    (store.scratch("split", KEY) / "checkpoint").write_text("so far")
    with pytest.raises(KeyboardInterrupt), store.write("split", KEY, INGREDIENTS):
        raise KeyboardInterrupt
    assert (store.scratch("split", KEY) / "checkpoint").read_text() == "so far"
    publish(store)
    assert not (store.root / ".scratch" / "split" / KEY).exists()
    store.scratch("split", KEY)  # as of a process that was killed between the two
    assert store.find("split", KEY)
    assert not (store.root / ".scratch" / "split" / KEY).exists()


def test_manifests_are_listed_oldest_first_and_damaged_ones_named(
    store: FolderStore, warnings_heard: list[str]
) -> None:
    publish(store)
    publish(store, key="a" * 32)
    publish(store, key="b" * 32).file(MANIFEST).write_text("")
    assert [manifest.key for manifest in store.manifests("split")] == [KEY, "a" * 32]
    assert len(warnings_heard) == 1
    assert "is damaged" in warnings_heard[0]


HOLD_AND_DIE = """
import os, sys, pathlib, signal
from lib.store.folder import FolderStore
store = FolderStore(pathlib.Path(sys.argv[1]))
lock = store.lock("split", sys.argv[2])
lock.acquire()
context = store.write("split", sys.argv[2], {})
(context.__enter__() / "half").write_text("half")
print("holding", flush=True)
signal.pause()
"""


def test_a_killed_writer_frees_its_lock_and_its_leftovers_are_removed(store: FolderStore) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_DIE, str(store.root), KEY], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "holding\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with store.file_lock("split", KEY).acquire(timeout=10):
        publish(store)
    assert [path.name for path in (store.root / "split").iterdir()] == [KEY]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(small_disk: Path) -> None:
    store = FolderStore(small_disk / "store")
    with pytest.raises(StoreError, match="No space left"), store.write("split", KEY, INGREDIENTS) as folder:
        (folder / "train.txt").write_bytes(b"x" * 2**21)
    assert list((store.root / "split").iterdir()) == []
    assert publish(store).digest
