"""What every store does, in a folder and on two real servers of objects; and what only a shared one has to."""

from __future__ import annotations

import ast
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import Timeout

from lib.errors import ExtraError, StoreError
from lib.files.lock import tried
from lib.store import client
from lib.store.artifacts import MANIFEST, Artifact, Manifest, key_of
from lib.store.bucket import Bucket
from lib.store.folder import FolderStore
from lib.store.housekeeping import copy, list_artifacts, prune, verify
from lib.store.lease import Lease, lease_name
from lib.store.objects import GRACE, ObjectStore
from lib.store.placed import PlacedManifests
from lib.store.places import open_store
from lib.store.store import Store
from tests.support.object_servers import BUCKET, SECRET, careless, environment, moto

INGREDIENTS = {"step": "split", "fields": {"split.seed": 123}, "inputs": {"download": "d" * 64}, "code": {}}
KEY = key_of(INGREDIENTS)


@dataclass
class Shared:
    """A store that homes share. damage: replaces the bytes of an artifact's file, where it lies, by as many others."""

    place: str
    folder: Path  # of the homes
    heard: list[str]
    life: float = 20.0

    def home(self, name: str = "here", cache_size: int = 10**9) -> Store:
        """The store as one of the homes has it."""
        local = self.folder / name
        if "://" not in self.place:
            return FolderStore(Path(self.place), self.heard.append)
        return ObjectStore(self.place, local=local, cache_size=cache_size, warn=self.heard.append, life=self.life)

    @property
    def bucket(self) -> Bucket:
        return Bucket(self.place)

    def damage(self, store: Store, name: str = "train.txt", key: str = KEY) -> None:
        if isinstance(store, FolderStore):
            file = store.root / "split" / key / name
            file.write_bytes(b"x" * file.stat().st_size)
        else:
            self.bucket.put(object_of(store, name, key), b"x" * len(b"hello"))


def object_of(store: Store, name: str, key: str = KEY) -> str:
    found = PlacedManifests(Bucket(store.place)).read("split", key)
    assert found is not None
    assert found[0] is not None
    (file,) = (file for file in found[0].files if file.name == name)
    return found[0].object_of(file)


@pytest.fixture
def servers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Names a place of its own at a server, which the environment is told of."""

    def place(server: str) -> str:
        for name, value in environment(request.getfixturevalue(f"{server}_server")).items():
            monkeypatch.setenv(name, value)
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}/store"

    return place


EVERYWHERE = pytest.mark.parametrize("anywhere", ["folder", "moto", "seaweedfs"], indirect=True)
QUICKLY = pytest.mark.parametrize("anywhere", ["folder", "seaweedfs"], indirect=True)


@pytest.fixture
def anywhere(request: pytest.FixtureRequest, servers: Callable[[str], str], tmp_path: Path) -> Shared:
    """An empty store of a kind."""
    place = str(tmp_path / "store") if request.param == "folder" else servers(request.param)
    return Shared(place, tmp_path, [])


@pytest.fixture(params=["moto", "seaweedfs"])
def shared(request: pytest.FixtureRequest, servers: Callable[[str], str], tmp_path: Path) -> Shared:
    """An empty store on each server."""
    return Shared(servers(request.param), tmp_path, [])


@pytest.fixture
def on_seaweedfs(servers: Callable[[str], str], tmp_path: Path) -> Shared:
    """An empty store on the quicker server."""
    return Shared(servers("seaweedfs"), tmp_path, [])


def publish(store: Store, text: str = "hello", key: str = KEY, seconds: str = "1.5", name: str = "") -> Artifact:
    with store.write("split", key, INGREDIENTS | ({"name": name} if name else {}), noted=("times.txt",)) as folder:
        (folder / "train.txt").write_text(text)
        (folder / "figures").mkdir()
        (folder / "figures" / "größer als 1%.txt").write_text("curve")
        (folder / "empty").write_bytes(b"")
        (folder / "times.txt").write_text(seconds)
    artifact = store.find("split", key)
    assert artifact is not None
    return artifact


def files_of(artifact: Artifact) -> dict[str, str]:
    files = (path for path in artifact.folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(artifact.folder).as_posix(): path.read_text() for path in files}


WHOLE = {"train.txt": "hello", "figures/größer als 1%.txt": "curve", "empty": "", "times.txt": "1.5"}


# -- everywhere --


@EVERYWHERE
def test_an_artifact_is_found_whole_by_every_home_with_the_same_digest_everywhere(
    anywhere: Shared, tmp_path: Path
) -> None:
    here = anywhere.home()
    assert here.find("split", KEY) is None
    (here.scratch("split", KEY) / "checkpoint").write_text("so far")
    with here.lock("split", KEY):
        made = publish(here)
    assert not list((here.local / ".scratch").glob("*/*/*"))
    there = anywhere.home("there")
    found = there.find("split", KEY)
    assert found == made
    assert files_of(found) == files_of(made) == WHOLE
    assert found.digest == publish(FolderStore(tmp_path / "reference")).digest
    assert there.manifest("split", KEY).ingredients == INGREDIENTS
    assert [(each.step, each.key) for each in there.manifests("split")] == [("split", KEY)]
    assert (found.has("train.txt"), found.has("test.txt")) == (True, False)
    assert found.file("figures").is_dir()
    assert verify(there) == []


@QUICKLY
def test_no_path_travels_with_an_artifact_and_the_store_binds_it_again(anywhere: Shared) -> None:
    store = anywhere.home()
    made = publish(store)
    for travelled in (pickle.loads(pickle.dumps(made)), Artifact.model_validate_json(made.model_dump_json())):
        assert made.model_dump() == {"step": "split", "key": KEY, "digest": made.digest}
        assert travelled == made
        assert not travelled.is_bound
        assert store.bound(travelled).file("train.txt").read_text() == "hello"
    assert str(made.folder).encode() not in pickle.dumps(made)


@QUICKLY
def test_an_exception_while_writing_leaves_nothing(anywhere: Shared) -> None:
    store = anywhere.home()

    def interrupted() -> None:
        with store.write("split", KEY, INGREDIENTS) as folder:
            (folder / "train.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.keys() == store.unfinished() == []
    assert store.size() == 0


@EVERYWHERE
def test_damage_that_verify_finds_is_a_miss_and_is_replaced_whole(anywhere: Shared) -> None:
    store = anywhere.home()
    made = publish(store)
    anywhere.damage(store)
    assert [(each.step, each.problems) for each in verify(store)] == [
        ("split", ["train.txt does not have its checksum"])
    ]
    assert anywhere.home("there").find("split", KEY) is None
    assert "train.txt does not have its checksum" in anywhere.heard[-1]
    assert files_of(publish(store)) == WHOLE
    again = anywhere.home("there").find("split", KEY)
    assert again == made
    assert files_of(again) == WHOLE
    assert store.unfinished() == []


@EVERYWHERE
def test_a_whole_artifact_is_never_changed(anywhere: Shared) -> None:
    first = publish(anywhere.home())
    assert publish(anywhere.home("there"), "other") == first
    assert files_of(anywhere.home("third").bound(first.model_copy())) == WHOLE
    assert anywhere.home().unfinished() == []


@QUICKLY
def test_pruning_keeps_what_is_referenced_and_a_dry_run_says_what_goes(anywhere: Shared) -> None:
    store = anywhere.home()
    used = publish(store)
    with store.write("evaluate", "e" * 32, {"inputs": {"split": used.digest}}) as folder:
        (folder / "metrics.json").write_text("{}")
    publish(store, "tried", key="a" * 32)
    entries = list_artifacts(store, ("evaluate",))
    assert {(entry.step, entry.key[0]): entry.referenced for entry in entries} == {
        ("split", KEY[0]): True,
        ("evaluate", "e"): True,
        ("split", "a"): False,
    }
    assert all(entry.size > 0 for entry in entries)
    foretold = prune(store, ("evaluate",), unreferenced=True, dry_run=True)
    done = prune(store, ("evaluate",), unreferenced=True)
    assert [entry.key for entry in foretold.artifacts] == [entry.key for entry in done.artifacts] == ["a" * 32]
    assert [step for step, _ in sorted([*store.keys()])] == ["evaluate", "split"]
    assert done.remaining == store.size()


@QUICKLY
def test_what_somebody_makes_stays_with_its_inputs(anywhere: Shared) -> None:
    here, there = anywhere.home(), anywhere.home("there")
    split = publish(here)
    with there.lock("finetune", "f" * 32), there.write("finetune", "f" * 32, {"inputs": {"split": split.digest}}):
        pruned = prune(here, ("evaluate",), unreferenced=True)
        assert ([entry.key for entry in pruned.in_use], pruned.artifacts) == ([KEY], [])
    assert here.find("split", KEY) is not None


@QUICKLY
def test_a_lock_is_one_homes_at_a_time(anywhere: Shared) -> None:
    here, there = anywhere.home(), anywhere.home("there")
    with here.lock("split", KEY):
        assert here.held() == {("split", KEY)}
        with tried(there.lock("split", KEY)) as ours, tried(here.lock("split", KEY)) as again:
            assert (ours, again) == (False, False)
        with pytest.raises(Timeout):
            there.lock("split", KEY).acquire(timeout=0.3)
    with tried(there.lock("split", KEY)) as ours:
        assert ours


# -- from one to the other --


def test_a_store_is_copied_to_a_server_and_back_with_all_its_hits(shared: Shared, tmp_path: Path) -> None:
    folder, back = FolderStore(tmp_path / "store"), FolderStore(tmp_path / "back")
    keys = [KEY, "a" * 32, "b" * 32]
    for key in keys:
        publish(folder, key[0], key=key)
    (folder.root / "split" / keys[2] / "train.txt").write_text("?")
    copied = copy(folder, shared.home())
    assert (copied.artifacts, copied.present, [each.key for each in copied.damaged]) == (2, 0, ["b" * 32])
    assert copy(folder, shared.home("there")).present == 2
    copied = copy(shared.home("there"), back)
    assert (copied.artifacts, copied.damaged) == (2, [])
    for key in keys[:2]:
        found = shared.home("third").find("split", key)
        assert found == folder.find("split", key) == back.find("split", key)
        assert found is not None
        assert files_of(found)["train.txt"] == key[0]
        written = (folder.root / "split" / key / MANIFEST).read_bytes()
        assert (back.root / "split" / key / MANIFEST).read_bytes() == written
        assert Manifest.model_validate(shared.home().manifest("split", key).model_dump()) == folder.manifest(
            "split", key
        )


# -- shared by machines --


def test_damage_that_shows_when_a_file_is_read_is_one_sentence_and_the_next_run_makes_it_again(shared: Shared) -> None:
    here = shared.home()
    made = publish(here)
    shared.damage(here)
    found = shared.home("there").find("split", KEY)
    assert found == made
    with pytest.raises(StoreError, match=f"the artifact split/{KEY} of {shared.place} is damaged") as caught:
        _ = found.folder
    assert "run again" in str(caught.value)
    assert shared.home("there").find("split", KEY) is None
    shared.bucket.delete([object_of(here, "empty")])  # one more, which shows at once
    assert "empty is missing" in here.problems("split", KEY)
    assert files_of(publish(shared.home("there"))) == WHOLE


def test_a_manifest_that_cannot_be_read_is_damage_and_is_replaced(on_seaweedfs: Shared) -> None:
    store = on_seaweedfs.home()
    made = publish(store)
    before = json.loads(on_seaweedfs.bucket.get(f"split/{KEY}/{MANIFEST}")[0])  # type: ignore[index]
    for content in (b"{", b"[]", json.dumps(before | {"digest": "0" * 64}).encode()):
        on_seaweedfs.bucket.put(f"split/{KEY}/{MANIFEST}", content)
        assert store.find("split", KEY) is None
        assert [each.problems for each in verify(store)] == [[f"{MANIFEST} is missing or damaged"]]
        with pytest.raises(StoreError, match="has no readable"):
            prune(store, ("evaluate",), unreferenced=True)
        assert publish(store) == made


def test_what_is_replaced_while_it_is_used_is_one_sentence(on_seaweedfs: Shared) -> None:
    made = publish(on_seaweedfs.home())
    found = on_seaweedfs.home("there").bound(Artifact.model_validate(made.model_dump()))
    late = on_seaweedfs.home("third").find("split", KEY)
    prune(on_seaweedfs.home(), (), to_size=0)
    for artifact in (found, late):
        with pytest.raises(StoreError, match="was removed or replaced while it was used"):
            _ = artifact.folder if artifact else None


def test_files_that_no_manifest_names_go_after_a_day(on_seaweedfs: Shared) -> None:
    store = on_seaweedfs.home()
    publish(store)
    for place in (f"split/{KEY}/{'0' * 32}", f"finetune/{'f' * 32}/{'1' * 32}"):
        on_seaweedfs.bucket.put(f"{place}/{'2' * 64}", b"half")
    assert prune(store, ("split",), unreferenced=True).leftovers == []
    later = datetime.now(UTC) + GRACE + timedelta(hours=1)
    pruned = prune(store, ("split",), unreferenced=True, now=later)
    assert pruned.leftovers == [f"finetune/{'f' * 32}/{'1' * 32}", f"split/{KEY}/{'0' * 32}"]
    assert pruned.remaining == store.size()
    assert verify(store) == []


HOLD = """
import pathlib, signal, sys
from lib.store.objects import ObjectStore
store = ObjectStore(sys.argv[1], local=pathlib.Path(sys.argv[2]), cache_size=0, life=float(sys.argv[4]))
lock = store.lock("split", sys.argv[3])
lock.acquire()
work = store.write("split", sys.argv[3], {})  # kept: what nobody refers to is closed
(work.__enter__() / "half").write_text("half")
print("holding", flush=True)
signal.pause()
"""


def test_the_lock_of_a_killed_process_is_free_at_once_on_its_machine_and_after_its_life_on_others(
    shared: Shared,
) -> None:
    for other, least, most in (("there", 0.0, 1.5), ("elsewhere", 1.0, 5.0)):
        arguments = [shared.place, str(shared.folder / "there"), KEY, "2"]
        child = subprocess.Popen([sys.executable, "-c", HOLD, *arguments], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "holding\n"
        store = shared.home(other)
        with pytest.raises(Timeout):
            store.lock("split", KEY).acquire(timeout=0)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        killed = time.monotonic()
        with store.lock("split", KEY):
            assert least <= time.monotonic() - killed <= most
            publish(store)
        if other == "there":
            assert not list((store.local / "split").glob("*"))  # what the killed one had begun


def test_a_lease_that_is_renewed_is_not_taken_and_one_that_was_lost_is_left_alone(on_seaweedfs: Shared) -> None:
    on_seaweedfs.life = 0.6
    here, there = on_seaweedfs.home(), on_seaweedfs.home("there")
    with here.lock("split", KEY):
        with pytest.raises(Timeout):
            there.lock("split", KEY).acquire(timeout=1.5)
        on_seaweedfs.bucket.put(lease_name("split", KEY), b"another's")
        time.sleep(0.4)  # longer than until the next renewal, which must not write over it
    assert on_seaweedfs.bucket.get(lease_name("split", KEY))[0] == b"another's"  # type: ignore[index]
    time.sleep(2.2)  # the server tells time in whole seconds
    here.clear_locks()
    assert here.held() == set()


def test_a_lease_whose_renewal_was_written_and_not_answered_is_still_held(
    on_seaweedfs: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_seaweedfs.life = 0.6
    swap, swaps = Bucket.swap, list[str | None]()

    def lost(bucket: Bucket, name: str, content: bytes, etag: str) -> str | None:
        swaps.append(swap(bucket, name, content, etag))
        return None  # as when the request is sent again, and finds what it wrote itself

    lease = on_seaweedfs.home().lock("split", KEY)
    assert isinstance(lease, Lease)
    with lease:
        monkeypatch.setattr(Bucket, "swap", lost)
        time.sleep(1)
        assert len(swaps) > 2
        assert None not in swaps
        assert lease.is_held()
        on_seaweedfs.bucket.put(lease_name("split", KEY), b"another's")
        assert not lease.is_held()


def test_a_server_that_says_both_that_a_lease_is_there_and_is_not_is_not_asked_for_ever(
    on_seaweedfs: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Bucket, "create", lambda bucket, name, content: asked.append(name))
    monkeypatch.setattr(Bucket, "get", lambda bucket, name: None)
    with pytest.raises(Timeout):
        on_seaweedfs.home().lock("split", KEY).acquire(timeout=0.6)
    assert 2 <= len(asked) <= 4


def test_what_a_server_did_not_take_is_kept_here_and_sent_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)  # with their waits, those of a user take seconds
    with ExitStack() as running:
        endpoint = running.enter_context(moto())
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        homes = Shared(f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}", tmp_path, [])
        here = homes.home()

        def cut_off() -> None:
            with here.write("split", KEY, INGREDIENTS) as folder:
                (folder / "train.txt").write_text("hello")
                running.close()

        with pytest.raises(StoreError, match=r"does not answer: .*run again, which goes on from there$"):
            cut_off()
    with moto(int(endpoint.rpartition(":")[2])):
        assert homes.home("there").find("split", KEY) is None
        later = datetime.now(UTC) + timedelta(days=8)
        assert f".unsent/split/{KEY}" in prune(here, (), unreferenced=True, dry_run=True, now=later).leftovers
        sent = homes.home().find("split", KEY)  # as the next run does
        assert sent is not None
        assert sent == homes.home("there").find("split", KEY)
        assert sent.file("train.txt").read_text() == "hello"
        assert not list((here.local / ".unsent").glob("*/*"))


def test_files_whose_manifest_stands_stay_though_the_server_failed_afterwards(
    on_seaweedfs: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, create = on_seaweedfs.home(), Bucket.create

    def failing(bucket: Bucket, name: str, content: bytes) -> str | None:
        create(bucket, name, content)
        raise StoreError("the server keeps failing")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "create", failing)
        with pytest.raises(StoreError, match="keeps failing"):
            publish(store)
    found = on_seaweedfs.home("there").find("split", KEY)
    assert found is not None
    assert files_of(found) == WHOLE
    assert verify(store) == []


# -- servers that cannot be used --


def test_a_server_that_ignores_conditions_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with careless() as (endpoint, objects):
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        store = ObjectStore(f"s3://{BUCKET}/x", local=tmp_path, cache_size=0)
        for attempt in (lambda: publish(store), lambda: store.lock("split", KEY).acquire()):
            with pytest.raises(
                StoreError, match=f"^the server of s3://{BUCKET}/x at {endpoint} ignores conditional writes"
            ):
                attempt()
        assert objects == {}


@pytest.mark.parametrize(
    ("changes", "address", "sentence"),
    [
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "s3://b/x",
            "^the server of s3://b/x at http://127.0.0.1:9 does not",
        ),
        ({"AWS_ENDPOINT_URL": "http://192.0.2.1"}, "s3://b/x", "192.0.2.1 is not encrypted: .*AWS_ALLOW_HTTP"),
        ({}, "s3://", "^s3:// is no address of an artifact store"),
        ({}, "s3://me:secret@b/x", "^b/x is no address of an artifact store"),
        ({}, "gs://b/x", "^an artifact store cannot be at gs://"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nowhere"},
            "s3://b/x",
            "^there are no credentials for an artifact store on a server: set AWS_PROFILE, or",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    changes: dict[str, str], address: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (environment("http://127.0.0.1:9") | changes).items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=sentence) as caught:
        open_store(address, local=tmp_path, cache_size=0).find("split", KEY)
    assert SECRET not in str(caught.value)


def test_no_bucket_and_refused_keys_are_one_sentence_without_the_keys(
    servers: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers("moto")
    store = ObjectStore("s3://nobodys/x", local=tmp_path, cache_size=0)
    for attempt in (lambda: store.find("split", KEY), store.keys, lambda: publish(store)):
        with pytest.raises(StoreError, match=r"^there is no bucket nobodys at http://127\."):
            attempt()
    place = servers("seaweedfs")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    store = ObjectStore(place, local=tmp_path, cache_size=0)
    for attempt in (lambda: store.find("split", KEY), store.keys, lambda: publish(store)):
        with pytest.raises(StoreError, match="may not be used with the credentials of the environment") as caught:
            attempt()
        assert "a-wrong-secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.extras.find_spec", lambda package: None)
    with pytest.raises(ExtraError, match=r"s3://b/x needs the package obstore, .*finetune-flows\[s3\]"):
        open_store("s3://b/x", local=tmp_path, cache_size=0)


def test_a_folder_needs_nothing_that_only_servers_do() -> None:
    """The modules that an artifact in a folder takes import neither obstore nor those that do, but in functions."""
    root = Path(__file__).resolve().parents[3] / "lib" / "store"
    only_servers = {"bucket", "client", "objects", "placed", "fetched", "lease", "cache"}
    for file in root.glob("*.py"):
        if file.stem not in only_servers:
            tree = ast.parse(file.read_text())
            imported = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
            assert not imported & {f"lib.store.{name}" for name in only_servers}, file.name
            assert not any(name.startswith("obstore") for name in imported)
