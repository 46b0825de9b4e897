"""Housekeeping: the store is listed, checked and emptied as asked, and never under the feet of a running process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lib.errors import StoreError
from lib.store.artifacts import MANIFEST, Artifact, key_of
from lib.store.folder import FolderStore
from lib.store.housekeeping import Pruned, list_artifacts, prune, verify

FINAL = ("evaluate",)
DAY = timedelta(days=1)
SIZE = 1000  # bytes of an artifact's one file


def publish(store: FolderStore, step: str, name: str = "", age: int = 0, **inputs: Artifact) -> Artifact:
    """An artifact that was made from `inputs`, `age` days ago; `name` makes it differ from others of its step."""
    ingredients = {"step": step, "name": name, "inputs": {made: artifact.digest for made, artifact in inputs.items()}}
    key = key_of(ingredients)
    with store.write(step, key, ingredients) as folder:
        (folder / "data.txt").write_text(f"{step} {name}".ljust(SIZE))
    manifest = store.manifest(step, key)
    manifest.created = datetime.now(UTC) - age * DAY
    (store.root / step / key / MANIFEST).write_text(manifest.model_dump_json())
    artifact = store.find(step, key)
    assert artifact is not None
    return artifact


def chain(store: FolderStore, name: str = "", age: int = 0) -> list[Artifact]:
    """download -> split -> finetune -> evaluate, as a run leaves them: a day between two steps."""
    download = publish(store, "download", name, age + 3)
    split = publish(store, "split", name, age + 2, download=download)
    finetune = publish(store, "finetune", name, age + 1, split=split)
    return [download, split, finetune, publish(store, "evaluate", name, age, finetune=finetune, split=split)]


def there(store: FolderStore) -> list[str]:
    return sorted(f"{e.step} {store.manifest(e.step, e.key).ingredients['name']}" for e in list_artifacts(store, FINAL))


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def files_of(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


# Locks a key and, if inputs are given, begins to make an artifact from them; goes on until it is killed.
WORK = """
import json, pathlib, signal, sys
from lib.store.folder import FolderStore
step, key, ingredients = json.loads(sys.argv[2])
store = FolderStore(pathlib.Path(sys.argv[1]))
lock = store.lock(step, key)  # kept: a lock that nobody refers to is released
lock.acquire()
if ingredients is not None:
    work = store.write(step, key, ingredients)
    (work.__enter__() / "half.txt").write_text("half")
    (store.scratch(step, key) / "checkpoint").write_text("so far")
print("at work", flush=True)
signal.pause()
"""


@contextmanager
def at_work(store: FolderStore, step: str, key: str, ingredients: dict[str, Any] | None = None) -> Iterator[None]:
    """Another process holds the key meanwhile, and is killed at the end."""
    arguments = [sys.executable, "-c", WORK, str(store.root), json.dumps([step, key, ingredients])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            yield
        finally:
            process.kill()


# -- list --


def test_list_tells_of_every_artifact_oldest_first(store: FolderStore) -> None:
    made = chain(store)
    entries = list_artifacts(store, FINAL)
    assert [(e.step, e.key, e.digest) for e in entries] == [(a.step, a.key, a.digest) for a in made]
    assert [e.size for e in entries] == [bytes_of(artifact.folder) for artifact in made]
    assert [round((datetime.now(UTC) - e.created) / DAY) for e in entries] == [3, 2, 1, 0]
    assert entries[2].inputs == {"split": made[1].digest}
    assert entries[2].seconds == store.manifest("finetune", made[2].key).seconds


def test_referenced_is_what_a_final_artifact_was_made_from_directly_or_through_others(store: FolderStore) -> None:
    chain(store, "used")
    split = publish(store, "split", "tried", download=publish(store, "download", "tried"))
    publish(store, "finetune", "tried", split=split)
    referenced = {store.manifest(e.step, e.key).ingredients["name"]: set[bool]() for e in list_artifacts(store, FINAL)}
    for entry in list_artifacts(store, FINAL):
        referenced[store.manifest(entry.step, entry.key).ingredients["name"]].add(entry.referenced)
    assert referenced == {"used": {True}, "tried": {False}}
    assert all(entry.referenced for entry in list_artifacts(store, ("finetune", "evaluate")))


def test_an_input_is_named_by_its_step_and_its_bytes(store: FolderStore) -> None:
    """Equal bytes of another step do not count as referenced; a second artifact with the same bytes does."""
    split = publish(store, "split")
    publish(store, "evaluate", split=split)
    for step, key in (("split", "a" * 32), ("balance", "b" * 32)):
        with store.write(step, key, {}) as folder:
            (folder / "data.txt").write_bytes(split.file("data.txt").read_bytes())
    entries = {(e.step, e.key): e for e in list_artifacts(store, FINAL)}
    assert entries["split", "a" * 32].digest == entries["balance", "b" * 32].digest == split.digest
    assert entries["split", "a" * 32].referenced
    assert not entries["balance", "b" * 32].referenced


def test_an_artifact_without_a_readable_manifest_is_listed_with_what_is_known(store: FolderStore) -> None:
    artifact = publish(store, "split")
    artifact.file(MANIFEST).write_text("{")
    (entry,) = list_artifacts(store, FINAL)
    assert (entry.step, entry.key, entry.digest, entry.seconds) == ("split", artifact.key, None, None)
    assert entry.size == SIZE + 1


def test_what_is_not_the_stores_is_neither_listed_nor_removed(store: FolderStore) -> None:
    publish(store, "split")
    (store.root / "split" / "my notes").mkdir()
    (store.root / "split" / "my notes" / "a.txt").write_text("mine")
    (store.root / "README").write_text("mine")
    prune(store, FINAL, to_size=0)
    assert sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*.txt")) == ["split/my notes/a.txt"]
    assert (store.root / "README").exists()


def test_a_store_that_does_not_exist_is_empty_and_stays_unmade(store: FolderStore) -> None:
    assert list_artifacts(store, FINAL) == []
    assert verify(store) == []
    assert prune(store, FINAL, to_size=0) == Pruned(dry_run=False, remaining=0)
    assert not store.root.exists()


# -- verify --


def test_verify_names_every_damaged_file_of_every_artifact(store: FolderStore) -> None:
    _, split, finetune, evaluate = chain(store)
    split.file("data.txt").unlink()
    finetune.file("data.txt").write_text("x" * SIZE)
    evaluate.file(MANIFEST).unlink()
    seen: list[tuple[int, int | None, str]] = []
    damaged = verify(store, lambda done, total, unit: seen.append((done, total, unit)))
    assert {damage.step: damage.problems for damage in damaged} == {
        "split": ["data.txt is missing"],
        "finetune": ["data.txt does not have its checksum"],
        "evaluate": [f"{MANIFEST} is missing or damaged"],
    }
    assert seen == [(done, 4, "artifacts") for done in (1, 2, 3, 4)]


def test_verify_finds_nothing_wrong_with_whole_artifacts(store: FolderStore) -> None:
    chain(store)
    assert verify(store) == []


# -- prune: criteria --


def test_prune_refuses_to_guess_what_may_go(store: FolderStore) -> None:
    chain(store)
    with pytest.raises(StoreError, match="nothing says which artifacts may go"):
        prune(store, FINAL)
    assert len(there(store)) == 4


def test_prune_by_age_removes_what_is_older(store: FolderStore) -> None:
    chain(store, "old", age=30)
    chain(store, "new", age=1)
    pruned = prune(store, FINAL, older_than=10 * DAY)
    assert [entry.step for entry in pruned.artifacts] == ["download", "split", "finetune", "evaluate"]
    assert there(store) == ["download new", "evaluate new", "finetune new", "split new"]


def test_prune_by_age_goes_by_the_given_time(store: FolderStore) -> None:
    publish(store, "split")
    assert prune(store, FINAL, older_than=10 * DAY, now=datetime.now(UTC) + 9 * DAY).artifacts == []
    assert len(prune(store, FINAL, older_than=10 * DAY, now=datetime.now(UTC) + 11 * DAY).artifacts) == 1


def test_prune_by_size_removes_the_oldest_until_the_store_is_small_enough(store: FolderStore) -> None:
    made = chain(store)
    newest_two = bytes_of(made[2].folder) + bytes_of(made[3].folder)
    pruned = prune(store, FINAL, to_size=newest_two)
    assert [entry.step for entry in pruned.artifacts] == ["download", "split"]
    assert there(store) == ["evaluate ", "finetune "]
    assert pruned.remaining == newest_two == bytes_of(store.root)


def test_prune_by_size_counts_all_that_is_in_the_store(store: FolderStore) -> None:
    made = chain(store)
    (store.scratch("finetune", "f" * 32) / "checkpoint").write_bytes(bytes(SIZE))
    everything = sum(bytes_of(artifact.folder) for artifact in made)
    assert [e.step for e in prune(store, FINAL, to_size=everything).artifacts] == ["download"]


def test_prune_keeps_a_store_that_is_small_enough(store: FolderStore) -> None:
    chain(store)
    assert prune(store, FINAL, to_size=bytes_of(store.root)).artifacts == []


def test_prune_unreferenced_keeps_what_final_artifacts_were_made_from(store: FolderStore) -> None:
    chain(store, "used")
    publish(store, "finetune", "tried", split=publish(store, "split", "tried"))
    prune(store, FINAL, unreferenced=True)
    assert there(store) == ["download used", "evaluate used", "finetune used", "split used"]


def test_criteria_narrow_one_another(store: FolderStore) -> None:
    chain(store, "old", age=30)
    publish(store, "split", "tried long ago", age=30)
    publish(store, "split", "tried today")
    pruned = prune(store, FINAL, unreferenced=True, older_than=10 * DAY)
    assert [store.manifest(e.step, e.key).ingredients["name"] for e in list_artifacts(store, FINAL)] == [
        *["old"] * 4,
        "tried today",
    ]
    assert len(pruned.artifacts) == 1
    assert prune(store, FINAL, unreferenced=True, to_size=0).artifacts[0].step == "split"


def test_prune_damaged_removes_just_what_is_damaged(store: FolderStore) -> None:
    _, split, finetune, _ = chain(store)
    split.file("data.txt").write_text("x" * SIZE)
    finetune.file(MANIFEST).unlink()
    assert {entry.step for entry in prune(store, FINAL, damaged=True).artifacts} == {"split", "finetune"}
    assert there(store) == ["download ", "evaluate "]


def test_unreferenced_is_refused_where_a_manifest_does_not_say_what_was_used(store: FolderStore) -> None:
    evaluate = chain(store)[3]
    evaluate.file(MANIFEST).write_text("{")
    with pytest.raises(StoreError, match=f"evaluate/{evaluate.key} has no readable"):
        prune(store, FINAL, unreferenced=True)
    assert [entry.step for entry in prune(store, FINAL, damaged=True).artifacts] == ["evaluate"]
    prune(store, FINAL, unreferenced=True)
    assert there(store) == []


def test_a_dry_run_says_what_the_real_one_does_and_changes_nothing(store: FolderStore) -> None:
    chain(store, "old", age=30)
    chain(store, "new")
    (store.root / "split" / f".{'d' * 32}-dead").mkdir()
    (store.root / ".results" / "split").mkdir(parents=True)
    (store.root / ".results" / "split" / ("c" * 32)).write_text("{}")
    with store.lock("split", "d" * 32):
        pass
    before = files_of(store.root)
    foretold = prune(store, FINAL, older_than=10 * DAY, dry_run=True)
    assert files_of(store.root) == before
    assert len(foretold.artifacts) == 4
    assert len(foretold.leftovers) == 2
    done = prune(store, FINAL, older_than=10 * DAY)
    assert foretold == done.model_copy(update={"dry_run": True})
    assert done.remaining == bytes_of(store.root)


# -- prune: leftovers --


def test_leftovers_of_a_dead_writer_go(store: FolderStore) -> None:
    with at_work(store, "finetune", "f" * 32, {}):
        (hidden,) = (store.root / "finetune").iterdir()
    pruned = prune(store, FINAL, older_than=DAY)
    assert pruned.leftovers == [f"finetune/{hidden.name}"]
    assert pruned.freed > 0
    assert not hidden.exists()
    assert (store.root / ".scratch" / "finetune" / ("f" * 32) / "checkpoint").exists()


def test_scratch_goes_when_nobody_has_touched_it_for_long(store: FolderStore) -> None:
    for key, days in (("a" * 32, 8), ("b" * 32, 6)):
        checkpoint = store.scratch("finetune", key) / "checkpoint"
        checkpoint.write_text("so far")
        then = (datetime.now(UTC) - days * DAY).timestamp()
        for path in (checkpoint, checkpoint.parent):
            os.utime(path, (then, then))
    assert prune(store, FINAL, older_than=DAY).leftovers == [f".scratch/finetune/{'a' * 32}"]
    assert [path.name for path in (store.root / ".scratch" / "finetune").iterdir()] == ["b" * 32]
    prune(store, FINAL, older_than=DAY, scratch_older_than=5 * DAY)
    assert list((store.root / ".scratch" / "finetune").iterdir()) == []


def test_records_of_results_go_with_their_artifacts(store: FolderStore) -> None:
    old, new = publish(store, "split", "old", age=30), publish(store, "split", "new")
    results = store.root / ".results" / "split"
    results.mkdir(parents=True)
    for key in (old.key, new.key, "e" * 32):
        (results / key).write_text("{}")
    assert prune(store, FINAL, older_than=DAY).leftovers == [f".results/split/{'e' * 32}"]
    assert [path.name for path in results.iterdir()] == [new.key]


def test_lock_files_go_when_nobody_holds_them(store: FolderStore) -> None:
    with store.lock("split", "a" * 32), at_work(store, "split", "b" * 32):
        with store.lock("split", "c" * 32):
            pass
        prune(store, FINAL, older_than=DAY)
        assert sorted(p.name for p in (store.root / ".locks").iterdir()) == [f"split-{'a' * 32}", f"split-{'b' * 32}"]
    prune(store, FINAL, older_than=DAY)
    assert list((store.root / ".locks").iterdir()) == []


COUNT = """
import pathlib, sys
from lib.store.folder import FolderStore
store, counter = FolderStore(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
for _ in range(600):
    with store.lock("split", "a" * 32).acquire(poll_interval=0.0001):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def test_removing_lock_files_never_lets_two_in_at_once(store: FolderStore, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    arguments = [sys.executable, "-c", COUNT, str(store.root), str(counter)]
    workers = [subprocess.Popen(arguments) for _ in range(2)]
    while any(worker.poll() is None for worker in workers):
        prune(store, FINAL, older_than=DAY)
    assert [worker.returncode for worker in workers] == [0, 0]
    assert counter.read_text() == "1200"


# -- prune: beside running processes --


def test_an_artifact_whose_key_another_process_holds_stays(store: FolderStore) -> None:
    artifact = publish(store, "split", age=30)
    with at_work(store, "split", artifact.key):
        for dry_run in (True, False):
            pruned = prune(store, FINAL, older_than=DAY, dry_run=dry_run)
            assert (pruned.artifacts, [entry.key for entry in pruned.in_use]) == ([], [artifact.key])
        assert store.find("split", artifact.key) is not None
    assert [entry.key for entry in prune(store, FINAL, older_than=DAY).artifacts] == [artifact.key]


def test_what_another_process_is_making_something_from_stays(store: FolderStore) -> None:
    download, split, finetune, evaluate = chain(store, "old", age=30)
    key, ingredients = "f" * 32, {"inputs": {"split": split.digest}}
    with at_work(store, "finetune", key, ingredients):
        pruned = prune(store, FINAL, older_than=DAY, scratch_older_than=timedelta(0))
        assert [entry.key for entry in pruned.artifacts] == [finetune.key, evaluate.key]
        assert [entry.key for entry in pruned.in_use] == [download.key, split.key]
        assert pruned.leftovers == []
        assert (store.root / ".scratch" / "finetune" / key / "checkpoint").exists()
        (hidden,) = (store.root / "finetune").iterdir()
        assert (hidden / "half.txt").exists()
    assert [entry.key for entry in prune(store, FINAL, older_than=DAY).artifacts] == [download.key, split.key]


def test_what_is_in_use_stays_however_small_the_store_shall_be(store: FolderStore) -> None:
    artifact = publish(store, "split")
    with at_work(store, "split", artifact.key):
        pruned = prune(store, FINAL, to_size=0)
    assert store.find("split", artifact.key) is not None
    assert pruned.remaining == bytes_of(artifact.folder)


def test_a_folder_that_a_prune_hid_and_did_not_delete_goes_with_the_next(store: FolderStore) -> None:
    artifact = publish(store, "split")
    artifact.folder.rename(artifact.folder.with_name(f".{artifact.key}-0123abcd"))
    assert store.find("split", artifact.key) is None
    assert prune(store, FINAL, older_than=DAY).leftovers == [f"split/.{artifact.key}-0123abcd"]
    assert list((store.root / "split").iterdir()) == []


def test_a_run_after_a_prune_makes_the_same_artifact_again(store: FolderStore) -> None:
    artifact = publish(store, "split", "x")
    prune(store, FINAL, to_size=0)
    assert publish(store, "split", "x").digest == artifact.digest


def test_a_store_that_may_only_be_read_is_listed_and_verified_but_not_pruned(small_disk: Path) -> None:
    store = FolderStore(small_disk / "store")
    publish(store, "split")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert len(list_artifacts(store, FINAL)) == 1
    assert verify(store) == []
    with pytest.raises(StoreError, match="Read-only file system"):
        prune(store, FINAL, to_size=0)
