"""A training that is stopped anywhere and called again ends with the bits of one that was not."""

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib.text.batching import Padding
from lib.training.train import Trained
from tests.support.toy_training import classifier, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
Finished = tuple[dict[str, Tensor], Trained]  # weights and result

FIELDS: dict[str, Any] = {
    "trainable": "last_two_blocks",
    "keep": "best",
    "schedule": "cosine",
    "warmup_steps": 3,
    "gradient_clip": 1.0,
    "checkpoint_every": 4,
}


class Stopped(Exception):  # noqa: N818 - it is no error
    """Raised in the place of a kill."""


def run(scratch: Path, *, stop_after: int | None = None, **fields: Any) -> Finished:
    """Weights and result of a training that `stop_after` batches interrupt (None: never)."""

    def progress(done: int, total: int | None, unit: str) -> None:
        if done == stop_after:
            raise Stopped

    fields = FIELDS | fields
    model = classifier(trainable=fields.pop("trainable"), dropout=0.1)
    result = train(model, scratch=scratch, progress=progress, **fields)
    return model.state_dict(), result


@functools.cache
def uninterrupted(**fields: Any) -> Finished:
    """The same, never interrupted; computed once for equal settings."""
    with tempfile.TemporaryDirectory() as scratch:
        return run(Path(scratch), **fields)


def assert_same(first: Finished, second: Finished) -> None:
    for name, tensor in first[0].items():
        assert torch.equal(tensor, second[0][name]), name
    assert first[1].history.drop(columns="seconds").equals(second[1].history.drop(columns="seconds"))
    assert first[1].kept == second[1].kept


@pytest.mark.parametrize("padding", ["longest", "batch"])
@pytest.mark.parametrize("stops", [(3,), (5,), (12, 13), (14, 30), (36,)])
def test_stopped_and_resumed_gives_the_same_bits(tmp_path: Path, padding: Padding, stops: tuple[int, ...]) -> None:
    for stop in stops:
        with pytest.raises(Stopped):
            run(tmp_path / "parts", padding=padding, stop_after=stop)
    resumed = run(tmp_path / "parts", padding=padding)
    assert_same(uninterrupted(padding=padding), resumed)
    done = (stops[-1] - 1) // 4 * 4  # the progress of a batch is heard before its checkpoint
    assert resumed[1].resumed_at == (done or None)


def test_accumulation_and_last_weights_survive_a_stop(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"gradient_accumulation": 3, "keep": "last", "patience": 1, "trainable": "last_block"}
    with pytest.raises(Stopped):
        run(tmp_path / "parts", stop_after=10, **fields)
    resumed = run(tmp_path / "parts", **fields)
    assert resumed[1].resumed_at == 9  # due after 8 batches, made when the third gradient was in
    assert_same(uninterrupted(**fields), resumed)


def test_rows_from_before_the_stop_are_given_again_and_seconds_go_on(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=20)
    stored = json.loads((tmp_path / "checkpoint.json").read_text())["state"]
    rows: list[dict[str, Any]] = []
    history = run(tmp_path, on_row=rows.append)[1].history
    assert rows[: len(stored["rows"])] == stored["rows"]
    assert rows == history.to_dict("records")
    assert history.seconds.is_monotonic_increasing
    assert history.seconds[len(stored["rows"])] > stored["seconds"]


def test_a_finished_training_can_be_called_again(tmp_path: Path) -> None:
    assert_same(run(tmp_path), run(tmp_path))


@pytest.mark.parametrize(
    "change", [{"learning_rate": 1e-3}, {"fingerprint": "new code"}, {"class_weights": (1.0, 2.0)}]
)
def test_other_settings_do_not_continue_a_checkpoint(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(Stopped):
        run(tmp_path / "parts", stop_after=10)
    warnings: list[str] = []
    other = run(tmp_path / "parts", warn=warnings.append, **change)
    assert len(warnings) == 1
    assert other[1].resumed_at is None
    assert_same(uninterrupted(**change), other)


def test_other_weights_do_not_continue_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=10)
    model = classifier(trainable=FIELDS["trainable"], dropout=0.1)
    with torch.no_grad():
        model.head.bias[0] += 1
    fields = {name: value for name, value in FIELDS.items() if name != "trainable"}
    assert train(model, scratch=tmp_path, **fields).resumed_at is None


def test_a_damaged_checkpoint_means_a_fresh_start(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path / "parts", stop_after=10)
    [file] = (tmp_path / "parts").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    warnings: list[str] = []
    resumed = run(tmp_path / "parts", warn=warnings.append)
    assert len(warnings) == 1
    assert "damaged" in warnings[0]
    assert_same(uninterrupted(), resumed)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.lib.training.test_resume import FIELDS, classifier, train

def progress(done, total, unit):
    if done == 19:
        os.kill(os.getpid(), signal.SIGKILL)

fields = {name: value for name, value in FIELDS.items() if name != "trainable"}
train(classifier(trainable="all", dropout=0.1), scratch=Path(sys.argv[1]), progress=progress, **fields)
"""


def test_kill_9_and_resume_in_another_process_gives_the_same_bits(tmp_path: Path) -> None:
    threads = str(torch.get_num_threads())
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "parts")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    resumed = run(tmp_path / "parts", trainable="all")
    assert resumed[1].resumed_at == 16
    assert_same(uninterrupted(trainable="all"), resumed)
