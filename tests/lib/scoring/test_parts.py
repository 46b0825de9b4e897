"""Scoring with a real classifier: what the parts hold, what a later run keeps of them, and a kill in the middle."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.cluster.opening import Choice, open_cluster
from lib.errors import MessagesError, SourceError, StoreError
from lib.evaluation.drift.profile import DriftProfile, drift_profile
from lib.inference.predictor import Predictor, SavedPredictor
from lib.scoring import score as scoring
from lib.scoring.inputs import find_inputs
from lib.scoring.parts import Output
from lib.scoring.places import KINDS, SCORED, UNSCORABLE, Folder
from lib.scoring.result import Model, Result
from lib.scoring.rows import Columns
from lib.scoring.score import score
from lib.text.gpt2 import gpt2_tokenizer

PROJECT = Path(__file__).resolve().parents[3]
LABELS = ("ham", "spam & <scam>")
ROWS = 1050
PART = 200


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file of 1,050 messages, of which row 500 is empty."""
    lines = [f"m{row},{'' if row == 500 else f'message number {row} ' + 'again ' * (row % 7)}" for row in range(ROWS)]
    file = tmp_path / "in" / "messages.csv"
    file.parent.mkdir()
    file.write_text("\n".join(["id,text", *lines]) + "\n")
    return file


@pytest.fixture(scope="module")
def profile() -> DriftProfile:
    """A profile of thirty messages."""
    texts = [f"message number {row} " + "again " * (row % 7) for row in range(30)]
    predictions = pd.DataFrame({"split": ["train", "validation", "test"] * 10, "text": texts})
    predictions["label"] = [LABELS[row // 3 % 2] for row in range(30)]
    for label, share in zip(LABELS, (0.4, 0.6), strict=True):
        predictions[f"probability_{label}"] = share
    counts, table = (
        dict.fromkeys(LABELS, 5),
        pa.Table.from_pandas(predictions.sort_values("split", key=lambda each: each != "train")),
    )
    return drift_profile([table], labels=LABELS, class_counts=counts, tokenizer=gpt2_tokenizer())


def run(inputs: Sequence[Path], output: Path, classifier: Path, **changes: Any) -> Result:
    """Scores; `changes` of the settings."""
    settings: dict[str, Any] = {
        "model": Model("toy", "1", "the one", LABELS),
        "predictor": lambda: Predictor.load(classifier, device="cpu"),
        "profile": None,
        "columns": Columns("text", "id"),
        "part_rows": PART,
        **changes,
    }
    with Output(Folder(output)).opened() as opened:
        files = find_inputs([str(path) for path in inputs], format=None, without=output)
        return score(files, opened, **settings)


def bytes_of(folder: Path) -> dict[str, str]:
    """Checksums of all parts by their path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def never() -> Predictor:
    raise AssertionError("the classifier is not needed: every part is kept")


def test_parts_hold_every_row_once_with_what_the_classifier_says(
    table: Path, tmp_path: Path, classifier_folder: Path
) -> None:
    result = run([table], tmp_path / "out", classifier_folder)
    scored = pd.read_parquet(tmp_path / "out" / "scored")
    refused = pd.read_parquet(tmp_path / "out" / "unscorable")
    assert list(scored.columns) == [
        *("file", "row", "id", "label", "probability", "probability_ham", "probability_spam & <scam>"),
        *("model_name", "model_version"),
    ]
    assert sorted([*scored["row"], *refused["row"]]) == list(range(ROWS))
    assert refused.to_dict("records") == [
        {"file": str(table), "row": 500, "line": 502, "id": "m500", "reason": "empty"}
    ]
    names = sorted(path.name.rpartition("-rows-")[2] for path in (tmp_path / "out" / "scored").glob("*.parquet"))
    assert names == [f"{first:012}-{min(first + PART, ROWS) - 1:012}.parquet" for first in range(0, ROWS, PART)]
    texts = pd.read_csv(table, keep_default_na=False).drop(500)
    expected = [each.probabilities for each in Predictor.load(classifier_folder, device="cpu").predict(texts["text"])]
    ordered = scored.sort_values("row")
    assert list(ordered["id"]) == list(texts["id"])
    assert list(ordered["probability_ham"]) == pytest.approx([each["ham"] for each in expected], abs=1e-6)
    assert list(ordered["probability"]) == [
        max(row) for row in ordered[["probability_ham", "probability_spam & <scam>"]].to_numpy()
    ]
    assert set(zip(scored["model_name"], scored["model_version"], strict=True)) == {("toy", "1")}
    assert (result.scored, result.unscorable, result.parts_written) == (ROWS - 1, {"empty": 1}, 6)
    assert result.labels == scored["label"].value_counts().to_dict()


def test_processes_write_the_same_bytes(
    table: Path, tmp_path: Path, classifier_folder: Path, profile: DriftProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "WINDOW_ROWS", 50)
    alone = run([table], tmp_path / "alone", classifier_folder, profile=profile)
    saved = SavedPredictor(classifier_folder, "cpu")
    with open_cluster(Choice("local", None, 2), scratch=tmp_path) as cluster:
        result = run([table], tmp_path / "pool", classifier_folder, profile=profile, predictor=saved, cluster=cluster)
    assert result == alone
    assert bytes_of(tmp_path / "pool") == bytes_of(tmp_path / "alone")


def test_a_second_run_keeps_every_part_and_needs_no_classifier(
    table: Path, tmp_path: Path, classifier_folder: Path, profile: DriftProfile
) -> None:
    first = run([table], tmp_path / "out", classifier_folder, profile=profile)
    before = bytes_of(tmp_path / "out")
    second = run([table], tmp_path / "out", classifier_folder, profile=profile, predictor=never)
    assert (second.parts_written, second.parts_kept) == (0, 6)
    assert (second.scored, second.labels, second.unscorable) == (first.scored, first.labels, first.unscorable)
    assert second.tally == first.tally
    assert second.tally is not None
    assert second.tally.messages == ROWS - 1
    assert bytes_of(tmp_path / "out") == before


IN_THE_MIDDLE = """
import sys, threading
from pathlib import Path
sys.path[:0] = ["tests/lib/scoring", "."]
from tests.lib.scoring.test_parts import run

def stop(done, total, unit):
    if done >= 500:
        print("there", flush=True)
        threading.Event().wait()

run([Path(sys.argv[1])], Path(sys.argv[2]), Path(sys.argv[3]), progress=stop)
"""


def test_after_kill_9_the_next_run_goes_on_and_ends_with_the_same_bytes(
    table: Path, tmp_path: Path, classifier_folder: Path
) -> None:
    run([table], tmp_path / "whole", classifier_folder)
    victim = subprocess.Popen(
        [sys.executable, "-c", IN_THE_MIDDLE, str(table), str(tmp_path / "out"), str(classifier_folder)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "there\n"
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
    begun = sorted(path.name for path in (tmp_path / "out" / "scored").iterdir())
    assert begun[0] == ".writing.parquet"
    assert len(begun) == 3  # and two parts, which are whole
    assert sum(pq.read_metadata(tmp_path / "out" / "scored" / name).num_rows for name in begun[1:]) == 2 * PART
    result = run([table], tmp_path / "out", classifier_folder)
    assert (result.parts_kept, result.parts_written, result.rows) == (2, 4, ROWS)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_damaged_and_missing_parts_are_made_again(table: Path, tmp_path: Path, classifier_folder: Path) -> None:
    output = tmp_path / "out"
    run([table], output, classifier_folder)
    before = bytes_of(output)
    parts = sorted((output / "scored").glob("*.parquet"))
    parts[1].write_bytes(parts[1].read_bytes()[:-20])
    parts[4].unlink()
    next((output / "unscorable").glob("*.parquet")).unlink()  # of the third part
    result = run([table], output, classifier_folder)
    assert (result.parts_kept, result.parts_written) == (3, 3)
    assert bytes_of(output) == before


def test_unscorable_rows_that_are_damaged_or_of_another_run_are_made_again(
    table: Path, tmp_path: Path, classifier_folder: Path
) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    run([table], output, classifier_folder)
    run([table], other, classifier_folder, columns=Columns("text", None))  # a part of the same name
    before = bytes_of(output)
    (beside,) = (output / "unscorable").glob("*.parquet")
    for contents in (beside.read_bytes()[:-20], (other / "unscorable" / beside.name).read_bytes()):
        beside.write_bytes(contents)
        result = run([table], output, classifier_folder)
        assert (result.parts_kept, result.parts_written) == (5, 1)
        assert bytes_of(output) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"model": Model("toy", "1", "another one of that number", LABELS)},
        {"model": Model("toy", "2", "the one", LABELS)},
        {"columns": Columns("text", None)},
        {"part_rows": 300},
    ],
    ids=["identity", "version", "columns", "part_rows"],
)
def test_another_classifier_or_setting_replaces_all_parts(
    table: Path, tmp_path: Path, classifier_folder: Path, changes: dict[str, Any]
) -> None:
    run([table], tmp_path / "out", classifier_folder)
    result = run([table], tmp_path / "out", classifier_folder, **changes)
    assert result.parts_kept == 0
    run([table], tmp_path / "fresh", classifier_folder, **changes)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "fresh")  # nothing of the first run is left


def test_changed_contents_replace_their_parts_and_other_files_stay(
    table: Path, tmp_path: Path, classifier_folder: Path
) -> None:
    other = table.with_name("other.jsonl")
    other.write_text('{"id": 1, "text": "hello"}\n{"id": 2, "text": ""}\n')
    run([table, other], tmp_path / "out", classifier_folder)
    table.write_text("id,text\n1,only one now\n")
    result = run([table], tmp_path / "out", classifier_folder)
    assert (result.files, result.rows, result.parts_kept) == (1, 1, 0)
    scored = pd.read_parquet(tmp_path / "out" / "scored")
    assert sorted(zip(scored["file"], scored["id"], strict=True)) == [(str(table), "1"), (str(other), "1")]
    assert len(list((tmp_path / "out" / "unscorable").glob("*.parquet"))) == 1


def test_windows_are_bounded_by_rows_and_by_characters(
    table: Path, tmp_path: Path, classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run([table], tmp_path / "whole", classifier_folder)
    monkeypatch.setattr(scoring, "WINDOW_ROWS", 70)
    monkeypatch.setattr(scoring, "WINDOW_CHARACTERS", 1000)
    run([table], tmp_path / "small", classifier_folder)
    groups = [pq.read_metadata(path) for path in (tmp_path / "small" / "scored").glob("*.parquet")]
    rows = [group.row_group(index).num_rows for group in groups for index in range(group.num_row_groups)]
    assert max(rows) < 70  # a thousand characters are about thirty of these messages
    whole, small = (pd.read_parquet(tmp_path / name / "scored") for name in ("whole", "small"))
    assert list(whole["label"]) == list(small["label"])
    assert list(whole["probability_ham"]) == pytest.approx(list(small["probability_ham"]), abs=1e-6)


def test_a_part_that_cannot_be_begun_or_ended_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unheard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unheard.append)
    schemas = dict.fromkeys(KINDS, pa.schema({"text": pa.string()}))
    whole = pq.ParquetWriter.close

    def full(writer: pq.ParquetWriter) -> None:
        if writer.is_open:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(writer)

    with Output(Folder(tmp_path / "out")).opened() as output:
        (tmp_path / "out" / UNSCORABLE / ".writing.parquet").mkdir(parents=True)
        with pytest.raises(IsADirectoryError), output.writing(schemas):
            pass
        assert not (tmp_path / "out" / SCORED / ".writing.parquet").exists()
        (tmp_path / "out" / UNSCORABLE / ".writing.parquet").rmdir()
        monkeypatch.setattr(pq.ParquetWriter, "close", full)
        with output.writing(schemas):
            pass
    gc.collect()  # what is collected then must not try again
    assert not list(tmp_path.rglob("*.parquet"))
    assert unheard == []


def test_a_bad_file_is_found_before_anything_is_scored(table: Path, tmp_path: Path, classifier_folder: Path) -> None:
    bad = table.with_name("z.csv")
    bad.write_text("a,b\n1,2\n")
    with pytest.raises(MessagesError, match=r"z\.csv has no column 'text'"):
        run([table, bad], tmp_path / "out", classifier_folder, predictor=never)
    assert bytes_of(tmp_path / "out") == {}


def test_damage_in_the_middle_keeps_the_parts_before_it(table: Path, tmp_path: Path, classifier_folder: Path) -> None:
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:701], '"m700,never closed', *lines[701:]]))
    with pytest.raises(MessagesError, match="line 702: a double quote"):
        run([table], tmp_path / "out", classifier_folder)
    assert pd.read_parquet(tmp_path / "out" / "scored")["row"].max() == 3 * PART - 1
    assert not list((tmp_path / "out").glob("*/.*"))


def test_a_file_that_changes_meanwhile_is_refused(table: Path, tmp_path: Path, classifier_folder: Path) -> None:
    def append(done: int, total: int | None, unit: str) -> None:
        if done == 2 * PART:
            with table.open("a") as stream:
                stream.write("m,more\n")

    with pytest.raises(SourceError, match=r"messages.csv was changed while it was scored"):
        run([table], tmp_path / "out", classifier_folder, progress=append)


def test_one_run_at_a_time_in_a_folder(tmp_path: Path) -> None:
    with Output(Folder(tmp_path / "out")).opened(), pytest.raises(StoreError, match="another run writes into"):
        Output(Folder(tmp_path / "out")).opened().__enter__()


def test_a_full_disk_is_one_sentence_and_leaves_whole_parts(
    table: Path, small_disk: Path, classifier_folder: Path
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * (2**20 - 60_000))
    with pytest.raises(StoreError, match="No space left to write into"):
        run([table], small_disk / "out", classifier_folder)
    filler.unlink()
    result = run([table], small_disk / "out", classifier_folder)
    assert result.rows == ROWS
    assert result.parts_kept > 0


def test_files_without_rows_are_no_error(tmp_path: Path, classifier_folder: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("id,text\n")
    result = run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out", classifier_folder, predictor=never)
    assert (result.files, result.rows, result.parts_written) == (2, 0, 0)


def test_progress_counts_rows_and_knows_the_total_of_parquet(
    table: Path, tmp_path: Path, classifier_folder: Path
) -> None:
    pd.read_csv(table, keep_default_na=False).to_parquet(tmp_path / "m.parquet")
    heard: list[tuple[int, int | None]] = []
    note: Callable[..., None] = lambda done, total, unit: heard.append((done, total))  # noqa: E731
    run([tmp_path / "m.parquet"], tmp_path / "out", classifier_folder, progress=note)
    assert heard[-1] == (ROWS, ROWS)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
