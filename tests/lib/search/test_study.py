"""A study: what it suggests, that it goes on after a kill as if there was none, and its mistakes in one sentence."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from lib.errors import ExtraError, SearchError
from lib.search.spaces import Interval, Spaces
from lib.search.study import Ended, Study, Trial
from tests.support.postgres import PASSWORD, postgres_server

SPACES: Spaces = {
    "training.learning_rate": Interval(1e-5, 1e-1, log=True),
    "training.batch_size": (8, 16, 32),
    "training.epochs": Interval(2, 9, step=2, whole=True),
    "model.dropout": Interval(0.0, 0.3),
}
BASE = {"training.learning_rate": 5e-5, "training.batch_size": 8, "training.epochs": 2, "model.dropout": 0}
TRIALS, STEPS = 14, 2


def opened(place: Path | str, spaces: Spaces = SPACES, **changed: Any) -> Study:
    settings = {"name": "mine", "direction": "maximize", "seed": 1, "prune": True, "first": BASE, **changed}
    return Study(str(place), spaces=spaces, **settings)


def accuracy(values: Mapping[str, Any]) -> float:
    """Largest with a learning rate of 0.001, batches of 16, 8 epochs and no dropout."""
    rate = math.log10(values["training.learning_rate"]) + 3
    batch = abs(values["training.batch_size"] - 16) / 20
    return float(values["training.epochs"] / 20 - rate**2 - batch - values["model.dropout"])


def tried(study: Study, trial: Trial) -> None:
    """What a training reports of its steps, and ends with."""
    end = accuracy(trial.values)
    for step in range(STEPS):
        if study.report(trial, step, end - 1 / (step + 1)):
            study.pruned(trial)
            return
    study.tell(trial, end)


def searched(place: Path | str, trials: int = TRIALS, **changed: Any) -> list[Ended]:
    """Searches, or goes on, one trial at a time."""
    with opened(place, **changed) as study:
        for trial in study.waiting():
            tried(study, trial)
        while len(study.finished) < trials:
            tried(study, study.ask())
        return study.finished


def without_seconds(ended: list[Ended]) -> list[Any]:
    return [(each.number, each.values, each.value, each.state, each.reason) for each in ended]


def begun(target: Any, *arguments: Any) -> multiprocessing.process.BaseProcess:
    """A process that has all imported already; it ends with this one."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def killed(process: multiprocessing.process.BaseProcess) -> None:
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    return searched(tmp_path_factory.mktemp("searched") / "search.db")


# -- suggestions ------------------------------------------------------------------------------------------------


def searched_until(place: Path, commit: int) -> None:
    """Searches, and is killed before or after a commit, whichever is its turn."""
    left = [commit]

    class Killing(sqlite3.Connection):
        def commit(self) -> None:
            left[0] -= 1
            if left[0] == 0 and commit % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            super().commit()
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Killing)  # type: ignore[assignment]
    searched(place)


def states(place: Path) -> list[str]:
    """Those of all trials, as they are kept."""
    with sqlite3.connect(place) as connection:
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trials'").fetchone()
        return [state for (state,) in connection.execute("SELECT state FROM trials ORDER BY number")] if made else []


def test_a_search_that_is_killed_again_and_again_goes_on_as_if_it_had_not_been(
    uninterrupted: list[Ended], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place, moments = tmp_path / "search {}%20?#.db", random.Random(1)
    ends, interrupted = [], 0
    while 0 not in ends:
        process = begun(searched_until, place, moments.randint(1, 90))
        process.join()
        ends.append(process.exitcode)
        interrupted += states(place).count("RUNNING")
    assert set(ends) == {0, -signal.SIGKILL}
    assert len(ends) > 3
    assert interrupted > 1
    assert without_seconds(searched(place)) == without_seconds(uninterrupted)
    assert capfd.readouterr() == ("", "")


def test_the_first_trial_is_the_base_and_the_best_is_better(uninterrupted: list[Ended], tmp_path: Path) -> None:
    assert uninterrupted[0].values == BASE
    assert [type(value) for value in uninterrupted[0].values.values()] == [float, int, int, float]
    assert [each.number for each in uninterrupted] == [*range(TRIALS)]
    best = max(uninterrupted, key=lambda each: accuracy(each.values))  # of all, also those that were pruned
    assert best.state == "complete"
    assert best.value is not None
    assert best.value > accuracy(BASE) + 1
    assert "pruned" in {each.state for each in uninterrupted}


def test_a_base_outside_of_the_spaces_is_no_trial(tmp_path: Path) -> None:
    lacking = {name: value for name, value in BASE.items() if name != "training.batch_size"}
    for name, first in enumerate([{**BASE, "model.dropout": 0.5}, {**BASE, "training.epochs": 3}, lacking]):
        with opened(tmp_path / "search.db", name=str(name), first=first) as study:
            trial = study.ask()
        assert trial.number == 0
        assert trial.values not in (BASE, first)


# -- several at a time ------------------------------------------------------------------------------------------


def test_what_runs_is_not_proposed_again(tmp_path: Path) -> None:
    spaces = {"training.epochs": Interval(1, 30, whole=True)}
    with opened(tmp_path / "search.db", spaces, prune=False) as study:
        for _ in range(10):
            trial = study.ask()
            study.tell(trial, -abs(int(trial.values["training.epochs"] or 0) - 15))
            assert type(trial.values["training.epochs"]) is int
        running = [study.ask() for _ in range(6)]
        assert len({trial.values["training.epochs"] for trial in running}) == 6
        assert study.waiting() == []


def asked_and_told(place: Path) -> None:
    with opened(place) as study, ThreadPoolExecutor(2) as threads:
        [*threads.map(lambda _: tried(study, study.ask()), range(4))]


def test_threads_and_processes_share_a_study_and_no_number(tmp_path: Path) -> None:
    place = tmp_path / "search.db"
    workers = [begun(asked_and_told, place) for _ in range(2)]
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with opened(place) as study:
        assert [each.number for each in study.finished] == [*range(8)]
        assert len({tuple(each.values.values()) for each in study.finished}) == 8
        assert study.waiting() == []
    with sqlite3.connect(place) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def asking(place: Path) -> None:
    with opened(place) as study:
        study.report(study.ask(), 0, 0.25)
        time.sleep(600)


def test_a_trial_is_continued_when_its_process_is_gone_and_not_before(tmp_path: Path) -> None:
    place = tmp_path / "search.db"
    process = begun(asking, place)
    with opened(place) as study:
        kept: list[Any] = []
        while not kept:
            time.sleep(0.02)
            with sqlite3.connect(place) as connection:
                kept = connection.execute("SELECT intermediate_value FROM trial_intermediate_values").fetchall()
        assert study.waiting() == []
        killed(process)
        assert study.waiting() == [Trial(0, BASE)]
        assert study.waiting() == []
        assert not study.report(Trial(0, BASE), 0, 0.25)
        with opened(place) as other:  # that on another machine, which cannot tell
            (theirs,) = other.waiting()
            study.tell(Trial(0, BASE), 0.5)
            other.tell(theirs, 0.75)
            other.failed(theirs, "too late")
            assert not other.report(theirs, 1, 0.75)
        assert without_seconds(study.finished) == [(0, BASE, 0.5, "complete", "")]


# -- ends -------------------------------------------------------------------------------------------------------


def test_a_trial_is_pruned_if_it_is_worse_than_half_of_the_others_at_the_same_step(tmp_path: Path) -> None:
    with opened(tmp_path / "search.db") as study:
        for level in (0.5, 0.6, 0.7, 0.8, 0.9):
            trial = study.ask()
            assert not any(study.report(trial, step, level + step / 100) for step in range(3))
            study.tell(trial, level)
        bad, slow, good = study.ask(), study.ask(), study.ask()
        assert [study.report(bad, step, 0.1) for step in range(2)] == [False, True]
        assert [study.report(slow, step, value) for step, value in enumerate((0.1, 0.71, 0.75))] == [
            False,
            False,
            False,
        ]
        assert [study.report(good, step, 0.95) for step in range(3)] == [False, False, False]
        # Not what a process before had reported of later steps: the trial gets there again.
        assert [study.report(bad, step, 0.1) for step in range(2)] == [False, True]
        study.pruned(bad)
        study.failed(slow, "its file is missing")
        study.tell(good, 0.95)
        nan = study.ask()
        study.tell(nan, math.nan)
        assert study.best == study.finished[7]
        ended = [(each.state, each.value, each.reason) for each in study.finished[5:]]
    assert ended == [
        ("pruned", 0.1, ""),
        ("failed", None, "its file is missing"),
        ("complete", 0.95, ""),
        ("failed", None, "what it came to is not a number"),
    ]
    with opened(tmp_path / "search.db", prune=False) as study:
        trial = study.ask()
        assert not any(study.report(trial, step, 0.1) for step in range(3))


def test_the_best_is_the_first_of_equal_ones_in_its_direction(tmp_path: Path) -> None:
    with opened(tmp_path / "search.db", direction="minimize") as study:
        assert (study.best, study.finished) == (None, [])
        for loss in (0.3, 0.1, 0.2, 0.1):
            study.tell(study.ask(), loss)
        assert study.best == study.finished[1]
        assert study.importance() == {}  # of so few


def test_seconds_add_up_over_starts(tmp_path: Path) -> None:
    with opened(tmp_path / "search.db") as study:
        assert study.seconds_spent == 0
        study.add_seconds(1.5)
    with opened(tmp_path / "search.db") as study:
        study.add_seconds(2)
        assert study.seconds_spent == 3.5
        trial = study.ask()
        time.sleep(0.05)
        study.tell(trial, 1)
        assert 0.05 <= study.finished[0].seconds < 30


# -- mistakes ---------------------------------------------------------------------------------------------------


def refusal(place: Path | str, spaces: Spaces = SPACES, **changed: Any) -> str:
    with pytest.raises(SearchError) as refused:
        opened(place, spaces, **changed)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_study_is_of_one_search(tmp_path: Path) -> None:
    place = tmp_path / "search.db"
    opened(place).close()
    opened(place, dict(reversed([*SPACES.items()])), prune=False, first=None).close()
    ends = "give the new one another name, or another search.storage"
    other = {**SPACES, "training.epochs": Interval(2, 8, whole=True)}
    said = f"The search 'mine' in {place} was made for"
    assert refusal(place, other) == f"{said} other spaces (training.epochs): {ends}"
    assert refusal(place, {"a.b": (1, 2)}, first={}).startswith(f"{said} other spaces (model.dropout, ")
    assert refusal(place, seed=2) == f"{said} another seed or direction: {ends}"
    assert refusal(place, direction="minimize") == f"{said} another seed or direction: {ends}"


def test_a_storage_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    ends = "see that it can be used, then run again, which goes on where this ended"
    file = tmp_path / "search.db"
    file.write_text("no database" * 100)
    assert refusal(file) == f"The trials in {file} cannot be read or written (file is not a database): {ends}"
    assert refusal(file / "search.db").startswith(f"The trials in {file}/search.db cannot be read or written ([Errno ")
    file.unlink()
    opened(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9'")
    assert refusal(file) == (
        f"The trials in {file} are of another version of Optuna: upgrade them with `optuna storage upgrade`, or choose"
        " another search.storage"
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "mysql://me:geheim!@host/db",
            r"search.storage begins with mysql://, but must be a PostgreSQL server's address",
        ),
        ("postgresql://me:geheim!@host/", r"search.storage names no database: write postgresql://user:password@"),
        ("postgresql://me:geheim!@host:x/db", r"search.storage is no address of a database: write postgresql://"),
        (
            "postgresql://me:geheim!@127.0.0.1:1/db",
            r"The trials in postgresql://127.0.0.1:1/db cannot be read .*refused",
        ),
    ],
)
def test_an_address_that_is_wrong_is_one_sentence_without_its_password(address: str, sentence: str) -> None:
    said = refusal(address)
    assert re.match(sentence, said)
    assert "geheim!" not in said


def test_a_search_needs_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.extras.find_spec", lambda name: None)
    with pytest.raises(ExtraError, match=r"^search needs the package optuna, .*'finetune-flows\[search\]'`$"):
        opened(tmp_path / "search.db")


# -- PostgreSQL -------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_a_search_on_postgresql_is_the_same_search(uninterrupted: list[Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    trials = 6
    monkeypatch.setenv("SEARCH_PASSWORD", PASSWORD)
    with postgres_server() as server:
        place = re.sub(r":[^:@]+@", ":${SEARCH_PASSWORD}@", server.address) + "trials"
        assert re.search(r'"trials" does not exist\)', said := refusal(place))
        assert PASSWORD not in said
        engine = create_engine(server.address.replace("postgresql:", "postgresql+psycopg2:") + "postgres")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE DATABASE trials"))
        engine.dispose()
        process = begun(searched, place, trials)
        process.join(1.5)
        killed(process)
        assert without_seconds(searched(place, trials)) == without_seconds(uninterrupted[:trials])
        workers = [begun(searched, place, trials + 3) for _ in range(2)]
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0, 0]
        with opened(place) as study:
            assert [each.number for each in study.finished] == [*range(len(study.finished))]
            assert study.waiting() == []
            server.stop()
            with pytest.raises(SearchError, match=r"^The trials in postgresql://.* cannot be read or written"):
                study.ask()
            server.start()
            assert study.ask().number == len(study.finished)
