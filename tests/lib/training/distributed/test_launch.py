"""Processes of this machine train together: what one process computes, whatever happens to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from lib.errors import MessagesError
from lib.files.jsonfile import load_json
from lib.progress import Listener
from lib.training.distributed.job import Job
from lib.training.distributed.launch import train_together
from tests.support.trained_together import (
    LONGER,
    TRAININGS,
    assert_same,
    history_in,
    job,
    resumed_at,
    told,
    train,
)

SAME = 1e-5
STOP_SECONDS = 10


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_compute_what_one_does_with_twice_the_batch(tmp_path: Path, sharding: str) -> None:
    rows: list[object] = []
    train_together(job(tmp_path, list(TRAININGS), sharding=sharding), told(Listener(on_row=rows.append)))
    for name, fields in TRAININGS.items():
        alone = train(
            name, tmp_path / "alone" / name, tmp_path / "alone" / "scratch" / name, batch_size=2 * fields["batch_size"]
        )
        together = history_in(tmp_path / name)
        assert len(together) == len(alone.history) > 3
        np.testing.assert_allclose(together, history_in(tmp_path / "alone" / name), rtol=0, atol=SAME, err_msg=name)
    assert len(rows) == sum(len(history_in(tmp_path / name)) for name in TRAININGS)
    assert load_json(tmp_path / "entries" / "trained.json")["samples"] == ["one", "two", "three"]


def step_process(work: Job) -> subprocess.Popen[str]:
    """A process that trains as a step does, after ten batches."""
    command = [sys.executable, "-m", "tests.support.trained_together", json.dumps(work.json())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    done = [int(line) for line, _ in zip(process.stdout, range(10), strict=False)]
    assert len(done) == 10, process.communicate()[1]
    return process


def test_killed_and_stopped_and_killed_again_they_end_with_the_bits_of_undisturbed_ones(tmp_path: Path) -> None:
    train_together(job(tmp_path / "undisturbed", ["messages"], **LONGER), told())
    work = job(tmp_path / "disturbed", ["messages"], pause=0.1, **LONGER)

    killed = step_process(work)
    workers = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.communicate()
    _, alive = psutil.wait_procs(workers, timeout=STOP_SECONDS)
    assert len(workers) == 4  # two keepers and two processes that train
    assert not alive

    stopped = step_process(work)
    asked = time.monotonic()
    stopped.send_signal(signal.SIGTERM)
    said = stopped.communicate(timeout=STOP_SECONDS)[1]
    assert time.monotonic() - asked < STOP_SECONDS
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    checkpoint = load_json(tmp_path / "disturbed" / "scratch" / "checkpoint.json")["state"]["steps"]
    assert 10 < checkpoint < 48

    rows: list[object] = []
    warnings: list[str] = []
    listener = Listener(on_row=rows.append, warn=warnings.append)
    train_together(
        job(tmp_path / "disturbed", ["messages"], kill=[1, 44, str(tmp_path / "killed")], **LONGER), told(listener)
    )
    assert_same(tmp_path / "disturbed" / "messages", tmp_path / "undisturbed" / "messages")
    assert resumed_at(tmp_path / "disturbed" / "messages") in range(40, 44)
    assert rows == list({json.dumps(row): row for row in rows}.values())
    assert len(rows) == len(history_in(tmp_path / "disturbed" / "messages"))
    assert warnings == [
        "Process 2 of the 2 that train together was killed (SIGKILL): all of them go on from the last checkpoint"
    ]


def test_with_shards_they_end_with_the_bits_of_undisturbed_ones_too(tmp_path: Path) -> None:
    train_together(job(tmp_path / "undisturbed", ["messages"], sharding="full", **LONGER), told())
    killed = [1, 22, str(tmp_path / "killed")]
    train_together(job(tmp_path / "disturbed", ["messages"], sharding="full", kill=killed, **LONGER), told())
    assert_same(tmp_path / "disturbed" / "messages", tmp_path / "undisturbed" / "messages")
    assert resumed_at(tmp_path / "disturbed" / "messages") == 20


def test_an_error_that_a_user_can_correct_comes_through_from_any_process(tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match=r"^there is something wrong with a message$"):
        train_together(job(tmp_path, ["messages"], wrong=1), told())


def test_one_process_does_not_load_what_several_need(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from tests.support.trained_together import train
train("messages", Path({str(tmp_path)!r}), Path({str(tmp_path)!r}), epochs=1)
print([name for name in sys.modules if name.startswith("lib.training.distributed.g")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"
