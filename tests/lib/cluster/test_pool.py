"""Parts computed by processes of this machine: their order, their errors, and processes that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lib.cluster.cluster import HERE
from lib.cluster.opening import Choice, open_cluster
from lib.cluster.order import AHEAD, in_order
from lib.cluster.pool import PROJECT, Pool
from lib.errors import ClusterError, SourceError

DRIVER = """
import sys, time
from lib.cluster.pool import Pool
from tests.lib.cluster.test_pool import slept
with Pool(2) as pool:
    for pid in pool.run(slept, [0.0, 0.0, 600.0, 600.0]):
        print(pid, flush=True)
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One for all tests after which it is whole."""
    with Pool(2) as pool:
        yield pool


# What the processes are asked to do.


def slept(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def refused(number: int) -> int:
    if number == 3:
        raise SourceError(f"file {number} is not there: look for it", temporary=True)
    return number


def impossible(number: int) -> float:
    return 1 / number


def struck(item: tuple[int, Path, int]) -> int:
    """Dies at item 2 until it has died so often."""
    number, folder, often = item
    if number == 2 and len(list(folder.iterdir())) < often:
        (folder / f"{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


# -- in this process ---------------------------------------------------------------------------------------------


def test_one_worker_is_this_process_and_loads_nothing() -> None:
    loaded = (
        "import sys; from pathlib import Path; from lib.cluster.opening import Choice, open_cluster\n"
        "with open_cluster(Choice(), scratch=Path()) as here: print(list(here.run(abs, [-1])))\n"
        "print(sorted({'multiprocessing', 'ray', 'subprocess'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[1]", "[]"]
    with open_cluster(Choice(), scratch=Path()) as cluster:
        assert cluster is HERE


def test_results_come_in_order_whichever_is_done_first_and_items_are_taken_when_they_are_needed() -> None:
    taken: list[int] = []
    begun: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    def last_begun() -> list[tuple[int, int]]:
        last = max(begun) if max(begun) > 0 else 0
        begun.remove(last)
        return [(last, -last)]

    results = in_order(items(), workers=2, begin=lambda number, item: begun.append(item), finished=last_begun)
    assert next(results) == 0  # which was done last of all that may be ahead of it
    assert len(taken) <= AHEAD * 2 + 2
    assert list(results) == [-number for number in range(1, 50)]


# -- in a pool ---------------------------------------------------------------------------------------------------


def test_a_pool_computes_in_order_in_so_many_processes(pool: Pool) -> None:
    pids = list(pool.run(slept, [0.3, 0.0, 0.2, 0.0]))
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert list(pool.run(refused, range(3))) == [0, 1, 2]


def test_an_error_of_the_users_comes_through_as_it_is() -> None:
    with Pool(2) as pool, pytest.raises(SourceError, match=r"^file 3 is not there: look for it$") as refusal:
        list(pool.run(refused, range(6)))
    assert refusal.value.temporary


def test_after_an_error_a_pool_goes_on() -> None:
    with Pool(2) as pool:
        with pytest.raises(SourceError):
            list(pool.run(refused, range(6)))
        assert list(pool.run(refused, range(3))) == [0, 1, 2]


def test_any_other_error_is_one_sentence_and_keeps_where_it_happened() -> None:
    with Pool(2) as pool, pytest.raises(ClusterError) as failure:
        list(pool.run(impossible, [1, 0]))
    assert str(failure.value) == (
        "a part failed in a worker (ZeroDivisionError: division by zero): run again, and if it stays so, with"
        " cluster.workers 1 and cluster.kind local, which says more"
    )
    assert "return 1 / number" in failure.value.__notes__[0]


def test_what_a_killed_process_worked_on_is_computed_again(tmp_path: Path) -> None:
    with Pool(2) as pool:
        assert list(pool.run(struck, [(number, tmp_path, 2) for number in range(5)])) == [0, 1, 4, 9, 16]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_part_that_kills_every_process_is_given_up_in_one_sentence(tmp_path: Path) -> None:
    with Pool(2) as pool, pytest.raises(ClusterError) as given_up:
        list(pool.run(struck, [(number, tmp_path, 9) for number in range(5)]))
    assert str(given_up.value) == (
        "3 processes died over the same part (status -9): most often memory is too small for 2 at once, so lower"
        " cluster.workers"
    )


def test_processes_end_with_the_block_and_with_the_process_that_started_them() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdout=-1
    )
    assert driver.stdout is not None
    workers = [psutil.Process(int(driver.stdout.readline())) for _ in range(2)]
    driver.kill()
    driver.wait()
    driver.stdout.close()
    gone, _ = psutil.wait_procs(workers, timeout=10)
    assert len(set(gone)) == len(set(workers))
