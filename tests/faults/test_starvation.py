"""Full and broken disks, little memory, few open files, and places that may only be read."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.faults.outcomes import FULL, Outcomes, scale
from tests.support.e2e import PROJECT, Home, digests
from tests.support.failing import compiled, preloaded
from tests.support.forked import run_forked
from tests.support.said import after_the_first_line
from tests.support.saved import write_weights

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SEED = 16
SOON = 10.0  # seconds within which a command ends whose disk is full, from when that shows; alone on a machine
FILLED_AT = ("download", "split", "backbone", "features", "finetune", "evaluate")  # steps
NO_SPACE = "error: No space left to write into "


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What fails the writes of a process."""
    library = compiled(tmp_path_factory.mktemp("library"))
    if library is None:
        pytest.skip("there is no C compiler here")
    return library


def outcomes_of(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO] if FULL else [errno.ENOSPC], ids=os.strerror)
@pytest.mark.parametrize(
    ("work", "where", "tries"),
    [("writes", "a step", scale(4, 200)), ("outputs", "score or export", scale(0, 60))][: 2 if FULL else 1],
)
def test_each_write_may_fail(
    work: str, where: str, tries: int, number: int, library: Path, tmp_path: Path, outcomes: Outcomes
) -> None:
    """A process of its own, since the library must be there from its beginning."""
    command = [sys.executable, "-m", "tests.faults.starved", work, str(tmp_path), str(tries), str(SEED), str(number)]
    done = subprocess.run(command, env=preloaded(library), cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tried = outcomes_of(done.stdout)
    assert len(tried) >= tries > 0
    fault = f"{'full' if number == errno.ENOSPC else 'broken'} disk at any write of {where}"
    for each in tried:
        outcomes.note(fault, not each["lost"], lost=f"{each['what']}: {each['lost']}", seconds=each["seconds"])
    assert [each for each in tried if each["lost"]] == []


@pytest.mark.parametrize("megabytes", [60] if not FULL else [80, 60, 50, 40, 20, 10, 5])
def test_a_training_within_little_memory(megabytes: int, outcomes: Outcomes) -> None:
    done = run_forked(
        ["tests.faults.starved", "memory", str(megabytes)], folder=PROJECT, environment={**os.environ}, text=""
    )
    assert done.returncode == 0, done.stderr
    (tried,) = outcomes_of(done.stdout)
    if megabytes >= 40:
        assert " texts at once: " in tried["what"], tried
    outcomes.note("memory that does not hold a batch", not tried["lost"], lost=tried["lost"])
    assert tried["lost"] == ""


def test_the_steps_need_few_open_files(tmp_path: Path, outcomes: Outcomes) -> None:
    done = run_forked(
        ["tests.faults.starved", "files", str(tmp_path)], folder=PROJECT, environment={**os.environ}, text=""
    )
    assert done.returncode == 0, done.stderr
    enough, too_few = outcomes_of(done.stdout)
    outcomes.note("64 open files", not enough["lost"], lost=enough["lost"])
    assert enough["what"] == "it works"
    with outcomes.trying("a step with 32 open files"):
        assert too_few["what"].startswith("too many files are open for this process's limit of 32, and a run needs 64:")


def test_a_disk_without_room_for_a_run_is_one_sentence_at_once(
    small_disk: Path, small_data: Path, outcomes: Outcomes
) -> None:
    home = Home(small_disk / "home", small_data)
    started = time.monotonic()
    done = home.call(*home.arguments())
    seconds = time.monotonic() - started
    with outcomes.trying("a disk of a megabyte"):
        assert done.returncode == 2, done.stderr
        said = after_the_first_line(done.stderr)
        assert said.startswith(f"{NO_SPACE}{home.folder} ("), said
        assert ", and a run needs 16.0 MiB): free some space there" in said
        assert said.count("\n") == 1
        assert not (home.folder / "mlflow.db").exists()
    outcomes.state("a disk of a megabyte: seconds until the sentence", f"{seconds:.1f}")


@contextmanager
def read_only_folder(folder: Path) -> Iterator[None]:
    """A folder that nobody, not even root, can write to in the block."""
    place = str(folder)
    for mount in (["mount", "--bind", place, place], ["mount", "-o", "remount,bind,ro", place]):
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a folder for reading only is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def read_only(copied: Home) -> Iterator[Home]:
    """A home that may only be read, in which a run has finished."""
    with read_only_folder(copied.folder):
        yield copied


def test_a_home_that_may_only_be_read(read_only: Home, outcomes: Outcomes) -> None:
    with outcomes.trying("a home that may only be read"):
        assert {would for would, _ in read_only.explain().values()} == {"be reused"}
        listed = read_only.call("list", module="flows.store")
        assert (listed.returncode, after_the_first_line(listed.stderr)) == (0, "")
        asked = read_only.call("predict", "win a free prize", "--json")
        assert asked.returncode == 0, asked.stderr
        refused = read_only.call(*read_only.arguments())
        assert refused.returncode == 2, refused.stderr
        said = after_the_first_line(refused.stderr)
        assert said.startswith("error: "), said
        assert said.count("\n") == 1, said


@pytest.mark.skipif(not FULL, reason="whole runs: only at full scale")
@pytest.mark.parametrize(
    "when", ["mlflow.db", *(f"store/{step}/.*" for step in FILLED_AT), "mlartifacts/models/*", "reports/*"]
)
def test_a_disk_that_fills_during_a_run(
    when: str, small_disk: Path, small_data: Path, finished: tuple[Home, Any], outcomes: Outcomes
) -> None:
    """Something else takes all space, and what becomes free, from when a file is there until the run ends; Prefect's
    server and MLflow's database lie on the same disk."""
    subprocess.run(["mount", "-o", "remount,size=128m", str(small_disk)], check=True)
    home = Home(small_disk / "home", small_data)
    with outcomes.trying("a disk that fills during a run"):
        run = home.start()
        while run.poll() is None and next(home.folder.glob(when), None) is None:
            time.sleep(0.01)
        assert run.poll() is None, f"the run ended before {when} was there: {run.communicate()}"
        full_since = time.monotonic()
        with (small_disk / "ballast").open("wb") as ballast:
            while run.poll() is None:
                grow(ballast)
                time.sleep(0.02)
            seconds = time.monotonic() - full_since
            err = run.communicate()[1]
        (small_disk / "ballast").unlink()
        said = err.splitlines()
        assert "Traceback" not in err, f"{when}: {err}"
        assert run.returncode in (0, 2), f"{when}: {err}"
        if run.returncode == 2:
            assert said[-1].startswith("error: No space left"), f"{when}: {err}"
        assert seconds < SOON, f"{when}: {seconds} s, {err}"
        assert digests(home.run()) == digests(finished[1]), f"{when}: the next run came to something else"
        outcomes.state(f"a disk that is full from {when} on: seconds until the sentence", f"{seconds:.1f}")


@pytest.mark.skipif(not FULL, reason="whole runs: only at full scale")
@pytest.mark.parametrize("limit", [64, 63, 48, 32, 24, 20, 16])
def test_a_run_with_few_open_files(
    limit: int, tmp_path: Path, small_data: Path, finished: tuple[Home, Any], outcomes: Outcomes
) -> None:
    """Its servers have as few."""
    home = Home(tmp_path / "home", small_data)
    limited = ["bash", "-c", f'ulimit -n {limit} && exec "$@"', "bash", *home.command(*home.arguments())]
    started = time.monotonic()
    done = subprocess.run(limited, cwd=PROJECT, env=home.env(), capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    with outcomes.trying(f"a run with {limit} open files"):
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == (0 if limit >= 64 else 2), done.stderr
        if done.returncode:
            said = after_the_first_line(done.stderr)
            assert said.startswith("error: too many files are open"), said
            assert said.count("\n") == 1, said
        assert digests(home.run()) == digests(finished[1])
    ends = f"ends with a sentence after {seconds:.1f} s" if done.returncode else "works"
    outcomes.state(f"a run with {limit} open files", ends)


@pytest.mark.skipif(not FULL, reason="a whole run: at full scale only")
def test_data_and_weights_that_may_only_be_read(small_data: Path, tmp_path: Path, outcomes: Outcomes) -> None:
    """A run writes nothing beside what it reads."""
    folder = tmp_path / "read-only"
    weights = write_weights("BERT", folder / "weights")
    data = Path(shutil.copy(small_data, folder))
    with read_only_folder(folder), outcomes.trying("data and weights that may only be read"):
        home = Home(tmp_path / "home", data)
        weighed = ("--model.size=from-weights", f"--model.weights={weights}", "--encoding.max_length=32")
        done = home.call(*home.arguments(*weighed))
        assert done.returncode == 0, done.stderr
        assert home.explain(*weighed)["evaluate"][0] == "be reused"


def grow(ballast: IO[bytes]) -> None:
    """Takes all space that is free."""
    size = 2**22
    while size >= 2**12:
        try:
            os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, size)
        except OSError:
            size //= 2
