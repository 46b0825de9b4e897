"""Eight machines make the same artifact at once, in one bucket, on two real servers: one of them has made it."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from lib.store.artifacts import Artifact
from lib.store.bucket import Bucket
from lib.store.housekeeping import verify
from lib.store.objects import ObjectStore
from tests.faults.outcomes import Outcomes, scale
from tests.support.object_servers import BUCKET, environment

pytestmark = pytest.mark.faults

WRITERS = 8
KEY = "a" * 32


@pytest.fixture(params=["moto", "seaweedfs"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place on a server that the environment names."""
    for name, value in environment(request.getfixturevalue(f"{request.param}_server")).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}/{request.param}"


def write(store: ObjectStore, together: Barrier, text: str) -> Artifact | None:
    """Makes the artifact without its lock, as who has lost a lease unawares does."""
    with store.write("split", KEY, {}) as folder:
        (folder / "train.txt").write_text(text)
        (folder / "same.txt").write_text("of all")
        together.wait(30)
    return store.find("split", KEY)


def make_at_once(address: str, folder: Path, heard: list[str]) -> list[Artifact | None]:
    """Has eight machines make the artifact, each with other bytes; returns what each of them finds afterwards."""
    together = Barrier(WRITERS)

    def writer(number: int) -> Artifact | None:
        local = folder / str(number)
        store = ObjectStore(address, local=local, cache_size=10**6, warn=heard.append)
        return write(store, together, f"of writer {number}")

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(writer, range(WRITERS)))


def test_eight_writers_make_one_artifact(place: str, outcomes: Outcomes, tmp_path: Path) -> None:
    server = place.rpartition("/")[2]
    for turn in range(scale(2, 200)):
        address, heard = f"{place}/{turn}", list[str]()
        store = ObjectStore(address, local=tmp_path / "first", cache_size=10**6, warn=heard.append)
        over = ""
        if turn % 2:  # every second round over a damaged one, which is replaced
            over = " over a damaged one"
            write(store, Barrier(1), "damaged")
            (name,) = (each.name for each in Bucket(address).list("split") if each.size == len("damaged"))
            Bucket(address).put(name, b"DAMAGED")
            assert len(verify(store)) == 1
        with outcomes.trying(f"{WRITERS} machines make one artifact{over} at once, at {server}"):
            found = make_at_once(address, tmp_path, heard)
            assert None not in found
            assert len(set(found)) == 1
            assert len({artifact.file("train.txt").read_text() for artifact in found if artifact is not None}) == 1
            assert verify(store) == []
            assert store.unfinished() == []  # nobody's files are left but those of the first
            assert any("was first" in sentence for sentence in heard)
