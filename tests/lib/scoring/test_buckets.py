"""Scoring from and to buckets of two real servers: the answers are those of folders, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.errors import ExtraError, SourceError, StoreError
from lib.inference.predictor import Predictor
from lib.scoring import objects, places
from lib.scoring.copies import Copies
from lib.scoring.inputs import InputFile, files_passed_over, find_inputs
from lib.scoring.parts import Output
from lib.scoring.places import Folder, InBucket, place_at
from lib.scoring.result import Model, Result
from lib.scoring.rows import Columns
from lib.scoring.score import score
from lib.store.bucket import Bucket
from tests.support.object_servers import BUCKET, SECRET, environment

PROJECT = Path(__file__).resolve().parents[3]
LABELS = ("ham", "spam & <scam>")
ROWS, PART = 450, 100


def run(inputs: Sequence[str], output: str, classifier: Path, local: Path, **changes: Any) -> Result:
    """Scores; `changes` of the settings."""
    settings: dict[str, Any] = {
        "model": Model("toy", "1", "the one", LABELS),
        "predictor": lambda: Predictor.load(classifier, device="cpu"),
        "profile": None,
        "columns": Columns("text", "id"),
        "part_rows": PART,
        **changes,
    }
    with Output(place_at(output, local=local)).opened() as opened:
        files = find_inputs(inputs, format=None, without=opened.name)
        return score(files, opened, **settings)


@dataclass
class There:
    """A place of its own in a bucket. local: what stands for this machine's home."""

    address: str
    local: Path

    @property
    def bucket(self) -> Bucket:
        return Bucket(self.address)

    def put(self, name: str, content: bytes) -> str:
        self.bucket.put(name, content)
        return f"{self.address}/{name}"

    def parts(self, under: str) -> dict[str, bytes]:
        """The bytes of all parts below a prefix, by kind and rows."""
        names = [each.name for each in self.bucket.list(under) if each.name.endswith(".parquet")]
        found = {name: self.bucket.get(name) for name in names}
        return {name.removeprefix(f"{under}/"): content[0] for name, content in found.items() if content is not None}

    def table(self, under: str, kind: str = "scored") -> pd.DataFrame:
        """The rows of all parts below a prefix."""
        parts = [content for name, content in self.parts(under).items() if name.startswith(f"{kind}/")]
        tables = [pq.read_table(pa.BufferReader(content)) for content in parts]
        return pd.DataFrame(pa.concat_tables(tables).to_pandas())


def there(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, folder: Path) -> There:
    for name, value in environment(request.getfixturevalue(f"{server}_server")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "WAITS", ())
    return There(f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}", folder / "home")


@pytest.fixture(params=["moto", "seaweedfs"])
def everywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> There:
    return there(request.param, request, monkeypatch, tmp_path)


@pytest.fixture
def seaweedfs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> There:
    return there("seaweedfs", request, monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def table() -> bytes:
    """A CSV file of 450 messages, of which row 150 is empty."""
    lines = [f"m{row},{'' if row == 150 else f'message number {row} ' + 'again ' * (row % 7)}" for row in range(ROWS)]
    return "\n".join(["id,text", *lines, ""]).encode()


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("every part is kept")


def test_a_folder_of_a_bucket_is_scored_into_another_with_the_answers_of_folders(
    everywhere: There,
    table: bytes,
    tmp_path: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = everywhere.put("in/größer.csv", table)
    everywhere.put("in/deep/two.jsonl", b'{"id": 1, "text": "hello"}\n{"id": 2, "text": ""}\n')
    for name in ("in/note.md", "in/_SUCCESS", "in/out/scored/old.parquet"):
        everywhere.put(name, b"x")
    inputs, output = [f"{everywhere.address}/in"], f"{everywhere.address}/in/out"
    files = find_inputs(inputs, format=None, without=output)
    assert [file.name.removeprefix(everywhere.address) for file in files] == ["/in/deep/two.jsonl", "/in/größer.csv"]
    assert files_passed_over(inputs, files, without=output) == [f"{everywhere.address}/in/note.md"]
    everywhere.bucket.delete(["in/out/scored/old.parquet"])

    first = run(inputs, output, classifier_folder, everywhere.local)
    assert (first.files, first.rows, first.parts_written) == (2, ROWS + 2, 6)
    here = tmp_path / "in.csv"
    here.write_bytes(table)
    run([str(here)], str(tmp_path / "out"), classifier_folder, everywhere.local)
    answers, expected = everywhere.table("in/out"), pd.read_parquet(tmp_path / "out" / "scored")
    answers = answers[answers["file"] == address].sort_values("row").reset_index(drop=True)
    pd.testing.assert_frame_equal(answers.drop(columns="file"), expected.sort_values("row").drop(columns="file"))
    refused = everywhere.table("in/out", "unscorable")
    assert sorted(zip(refused["row"], refused["reason"], strict=True)) == [(1, "empty"), (150, "empty")]

    before = everywhere.parts("in/out")
    monkeypatch.setattr("lib.scoring.copies.fetch_object", never)
    second = run(inputs, output, classifier_folder, everywhere.local, predictor=never)
    assert (second.parts_written, second.parts_kept, second.labels) == (0, 6, first.labels)
    assert everywhere.parts("in/out") == before


IN_THE_MIDDLE = """
import sys, threading
from pathlib import Path
from tests.lib.scoring.test_buckets import run

def stop(done, total, unit):
    if done >= 250:
        print("there", flush=True)
        threading.Event().wait()

run([sys.argv[1]], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), progress=stop)
"""


def test_after_kill_9_the_next_run_goes_on_and_ends_with_the_same_bytes(
    seaweedfs: There, table: bytes, classifier_folder: Path
) -> None:
    given = seaweedfs.put("in.csv", table)
    run([given], f"{seaweedfs.address}/whole", classifier_folder, seaweedfs.local)
    output = f"{seaweedfs.address}/out"
    command = [sys.executable, "-c", IN_THE_MIDDLE, given, output, str(classifier_folder), str(seaweedfs.local)]
    victim = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "there\n"
        with pytest.raises(StoreError, match=f"^another run writes into {output}: wait for it"):
            run([given], output, classifier_folder, seaweedfs.local)
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
    begun = seaweedfs.parts("out")  # which are whole: their rows can be read
    assert sorted(seaweedfs.table("out")["row"]) == [row for row in range(2 * PART) if row != 150]
    result = run([given], output, classifier_folder, seaweedfs.local)
    assert (result.parts_kept, result.parts_written, result.rows) == (2, 3, ROWS)
    assert seaweedfs.parts("out") == begun | seaweedfs.parts("whole")


def test_a_changed_object_is_scored_again_and_damaged_parts_are_made_again(
    seaweedfs: There, table: bytes, classifier_folder: Path
) -> None:
    given, other = seaweedfs.put("in/a.csv", table), seaweedfs.put("in/b.csv", b"id,text\n1,hello\n")
    output, local = f"{seaweedfs.address}/out", seaweedfs.local
    run([given, other], output, classifier_folder, local)
    parts = seaweedfs.parts("out")
    damaged = sorted(name for name in parts if name.startswith("scored/a"))[1]
    seaweedfs.bucket.put(f"out/{damaged}", parts[damaged][:-20])
    result = run([given], output, classifier_folder, local)
    assert (result.parts_kept, result.parts_written) == (4, 1)
    assert seaweedfs.parts("out") == parts
    seaweedfs.put("in/a.csv", b"id,text\n1,only one now\n")
    result = run([given], output, classifier_folder, local)
    assert (result.rows, result.parts_kept) == (1, 0)
    answers = seaweedfs.table("out")
    assert sorted(zip(answers["file"], answers["id"], strict=True)) == [(given, "1"), (other, "1")]
    assert not [name for name in seaweedfs.parts("out") if name.startswith("unscorable/")]


def test_an_object_that_changes_meanwhile_is_refused_and_finished_parts_stay(
    seaweedfs: There, table: bytes, tmp_path: Path, classifier_folder: Path
) -> None:
    given = seaweedfs.put("in.csv", table)

    def change(done: int, total: int | None, unit: str) -> None:
        if done == 2 * PART:
            seaweedfs.put("in.csv", table + b"m,more\n")

    with pytest.raises(SourceError, match=f"^{given} was changed while it was scored"):
        run([given], str(tmp_path / "out"), classifier_folder, seaweedfs.local, progress=change)
    assert sorted(pd.read_parquet(tmp_path / "out" / "scored")["row"])[-1] == PART - 1


def test_no_more_copies_lie_here_than_the_limit_and_that_in_use(
    seaweedfs: There, table: bytes, tmp_path: Path, classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [seaweedfs.put(f"in/{number}.csv", table) for number in range(3)]
    heaviest: list[int] = []
    bring: Callable[[Copies, InputFile], InputFile] = Copies.bring

    def watched(copies: Copies, file: InputFile) -> InputFile:
        brought = bring(copies, file)
        heaviest.append(sum(path.stat().st_size for path in brought.path.parents[1].rglob("*.csv")))
        return brought

    monkeypatch.setattr(Copies, "bring", watched)
    for limit, most in ((0, 1), (len(table), 2)):
        heaviest.clear()
        output = str(tmp_path / f"{limit}")
        run(inputs, output, classifier_folder, seaweedfs.local, cache_size=limit, part_rows=ROWS)
        assert max(heaviest) == most * len(table)
    assert not list(tmp_path.rglob("*.csv"))


def test_a_run_that_lost_its_place_to_another_one_writes_no_more(
    seaweedfs: There, table: bytes, classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, output = seaweedfs.put("in.csv", table), f"{seaweedfs.address}/out"

    def taken(done: int, total: int | None, unit: str) -> None:
        if done == 2 * PART:
            seaweedfs.bucket.put("out/.lock", b'{"nonce": "of another machine"}')

    with pytest.raises(StoreError, match=f"^another run has begun to write into {output}, while this one was cut off"):
        run([given], output, classifier_folder, seaweedfs.local, progress=taken)
    assert sorted(seaweedfs.table("out")["row"])[-1] == PART - 1
    monkeypatch.setattr(places, "PATIENCE", 0.6)
    with pytest.raises(StoreError, match=f"^another run writes into {output}"):
        InBucket(output, local=tmp_path / "elsewhere").opened().__enter__()


def test_what_cannot_be_read_or_written_is_one_sentence_without_keys(
    seaweedfs: There, moto_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(given: str) -> None:
        find_inputs([given], format=None, without=tmp_path)

    def write(given: str) -> None:
        with Output(place_at(given, local=tmp_path)).opened():
            pass

    def refused(attempt: Callable[[str], None], given: str, sentence: str) -> None:
        with pytest.raises((SourceError, StoreError), match=sentence) as caught:
            attempt(given)
        assert SECRET not in str(caught.value)

    empty = seaweedfs.address
    seaweedfs.put("a.md", b"")
    refused(read, f"{empty}/none.csv", f"^{empty}/none.csv does not exist: see that the address is right")
    refused(read, f"{empty}/*.csv", "^no file fits the pattern")
    refused(read, empty, f"^{empty} has no file to score: names must end with")
    assert objects.below(f"{empty}/quiet/") == []
    refused(write, "gs://b/x", "^answers cannot be written to gs://….*s3://bucket/prefix")
    refused(write, "s3://me:secret@b/x", "^b/x is no address of a place for answers")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_server)
        refused(write, "s3://nobodys/x", "^there is no bucket nobodys at http://127.*: make it, or let --output name")
        refused(read, "s3://nobodys/a.csv", "^s3://nobodys/a.csv does not exist: see that the address is right")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-one")
        refused(read, f"{empty}/a.csv", "may not be read with the credentials of the environment: set AWS_PROFILE")
        refused(write, empty, "may not be used with the credentials of the environment: set AWS_PROFILE")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        refused(read, f"{empty}/a.csv", f"^{empty}/a.csv cannot be reached .*its store works")
        refused(write, empty, f"^the server of {empty} at http://127.0.0.1:9 does not answer")
    monkeypatch.setattr("lib.extras.find_spec", lambda package: None)
    for attempt, package in ((read, "s3fs"), (write, "obstore")):
        with pytest.raises(ExtraError, match=rf"needs the package {package}, .*finetune-flows\[s3\]"):
            attempt("s3://b/x")


def test_a_folder_takes_objects_and_a_bucket_takes_files(
    seaweedfs: There, table: bytes, tmp_path: Path, classifier_folder: Path
) -> None:
    (tmp_path / "in.csv").write_bytes(table)
    run([str(tmp_path / "in.csv")], f"{seaweedfs.address}/out", classifier_folder, seaweedfs.local)
    given = seaweedfs.put("in.csv", table)
    run([given], str(tmp_path / "out"), classifier_folder, seaweedfs.local)
    ours, theirs = seaweedfs.table("out"), pd.read_parquet(tmp_path / "out" / "scored")
    assert set(ours["file"]) == {str(tmp_path / "in.csv")}
    assert set(theirs["file"]) == {given}
    assert list(ours.sort_values("row")["probability"]) == list(theirs.sort_values("row")["probability"])
    assert isinstance(place_at(str(tmp_path), local=tmp_path), Folder)
