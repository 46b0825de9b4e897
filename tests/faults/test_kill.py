"""Signals to a process or to its group at any moment, and what is there after the next run.

`finetune classify`, `instruct` and `score`; each try says with which seed it was drawn.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.faults.outcomes import FULL, Outcomes, scale
from tests.faults.subjects import (
    CHECKPOINT,
    DATABASES,
    DELIVERY,
    MLFLOW,
    PREFECT,
    RECORD,
    REGISTRATION,
    SIGNALS,
    WRITING,
    Killed,
    Subject,
    Trial,
    instructions,
    moment_at,
    seed,
    without_steps,
)
from tests.support.e2e import Home, copy_of, free_port
from tests.support.killed import Moment
from tests.support.whole import whole

pytestmark = [pytest.mark.faults, pytest.mark.e2e]


@pytest.fixture(scope="module")
def later(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A second training under a name, at another learning rate."""
    home, _ = finished
    more = ("--training.learning_rate=0.002", "--training.checkpoint_every=3")
    subject = Subject("classify", ["classify", *home.arguments("--json", *more)], home)
    return subject.undisturbed(tmp_path_factory.mktemp("later") / "undisturbed")


@pytest.fixture(scope="module")
def scoring(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Four hundred messages in eight parts."""
    home, _ = finished
    arguments = ["score", str(home.data), "--output={home}/scored", "--text_column=body", "--part_rows=50", "--json"]
    subject = Subject("score", arguments, home)
    return subject.undisturbed(tmp_path_factory.mktemp("scoring") / "undisturbed")


@pytest.fixture(scope="module")
def first(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The run of `finished` in a home that has its store and has never recorded anything."""
    home, result = finished
    start = Home(tmp_path_factory.mktemp("first") / "home", home.data, home.environment)
    shutil.copytree(home.folder / "store", start.folder / "store")
    steps = {step["step"]: float(step["seconds"]) for step in result["steps"]}
    expected = whole(home.folder, result)
    return Subject("classify", ["classify", *home.arguments("--json")], start, steps, 8.0, expected)


@pytest.fixture
def full_scale() -> None:
    if not FULL:
        pytest.skip("tried by `make faults` alone")


@dataclass
class Kills:
    """Kills, and notes what became of them."""

    outcomes: Outcomes
    signals: Counter[str] = field(default_factory=Counter)
    stopped: list[float] = field(default_factory=list)  # seconds from a signal that asks to stop to the end

    def attempt(
        self,
        subject: Subject,
        moments: Sequence[tuple[str, Moment]],
        folder: Path,
        prepare: Callable[[Home], None] = lambda home: None,
    ) -> None:
        """Kills the command at each of the moments, one run after the other in one home; the run after the last must be
        as if nothing had been. Each moment has the name of its fault; those that never came do not count."""
        trial = Trial(subject, folder)
        prepare(trial.home)
        tried = [(fault, trial.kill(moment)) for fault, moment in moments]
        killed = [(fault, done) for fault, done in tried if done is not None]
        if not killed:
            return
        seconds, problems = trial.recover()
        for number, (fault, done) in enumerate(killed, start=1):
            last = number == len(killed)
            lost = [*done.problems, *(problems if last else [])]
            said = f"{'; '.join(lost)} (seed {seed()}, {[each.moment for _, each in killed]})"
            self.outcomes.note(f"{subject.name}, {fault}", not lost, lost=said, seconds=seconds if last else None)
            self._count(done)
        shutil.rmtree(folder)

    def _count(self, done: Killed) -> None:
        kind, whom = done.moment.signal, "group" if done.moment.group else "process"
        self.signals[f"{kind} to the {whom}"] += 1
        if kind != "SIGKILL":
            self.stopped.append(done.seconds)
        for name, count in self.signals.items():
            self.outcomes.state(name, f"{count} times")
        print(f"{len(self.outcomes.noted)} kills, {len(self.outcomes.lost)} lost; last: {done.moment}")  # noqa: T201
        if self.stopped:
            self.outcomes.state(
                "from SIGTERM, SIGINT or SIGHUP to the end of the process",
                f"{median(self.stopped):.1f} s, at worst {max(self.stopped):.1f} s",
            )


@pytest.fixture(scope="module")
def kills(outcomes: Outcomes) -> Kills:
    outcomes.state("seed", f"{seed()}")
    return Kills(outcomes)


def chains(count: int, name: str) -> Iterator[tuple[random.Random, str]]:
    """What each try draws with, and its name."""
    for number in range(count):
        yield random.Random(f"{seed()} {name} {number}"), f"{name}-{number}"


def test_at_any_moment_of_any_step(kills: Kills, later: Subject, tmp_path: Path) -> None:
    for draw, name in chains(scale(1, 80), "steps"):
        steps = sorted(draw.sample(range(len(later.steps)), scale(3, 1)))
        moments = [("at any moment of a step", later.random_moment(draw, step)) for step in steps]
        kills.attempt(later, moments, tmp_path / name)


# In the order in which runs of one home, each of them killed, come by; so that each of them does come.
EVERY_DAY = [
    ("between write and rename", Moment("os:fsync", 2, "before", signal="SIGKILL")),
    ("around a checkpoint", Moment("lib.training.checkpoint:write_tensors", 2, "after", signal="SIGKILL", group=True)),
    ("around a checkpoint", Moment("lib.training.checkpoint:into_place", 3, "before", signal="SIGTERM")),
    ("between write and rename", Moment("lib.store.folder:sync", 4, "before", signal="SIGHUP", group=True)),
    ("while registering", Moment(f"{MLFLOW}create_logged_model", 1, "after", signal="SIGKILL")),
    ("while registering", Moment(f"{MLFLOW}log_model_artifacts", 1, "before", signal="SIGTERM", group=True)),
    ("while registering", Moment(f"{MLFLOW}finalize_logged_model", 1, "after", signal="SIGKILL", group=True)),
    ("while registering", Moment(f"{MLFLOW}create_model_version", 1, "after", signal="SIGKILL")),
    ("while registering", Moment(f"{MLFLOW}set_registered_model_alias", 1, "before", signal="SIGKILL")),
    ("while its record is delivered", Moment(f"{MLFLOW}set_terminated", 1, "before", signal="SIGKILL")),
]


def test_at_the_worst_points(kills: Kills, later: Subject, tmp_path: Path) -> None:
    before = len(kills.outcomes.noted)
    kills.attempt(later, EVERY_DAY, tmp_path / "every-day")
    assert len(kills.outcomes.noted) - before == len(EVERY_DAY)


@pytest.mark.usefixtures("full_scale")
def test_at_random_points(kills: Kills, later: Subject, tmp_path: Path) -> None:
    groups = {
        "while its record is delivered": RECORD,
        "between write and rename": WRITING,
        "around a checkpoint": CHECKPOINT,
        "while registering": REGISTRATION,
    }
    for draw, name in chains(scale(0, 35), "points"):
        for fault, points in groups.items():
            moment = moment_at(draw.choice(points), draw, longest=0.1)
            kills.attempt(later, [(fault, moment)], tmp_path / f"{name} {fault}")


def test_while_mlflows_database_is_made(kills: Kills, first: Subject, tmp_path: Path) -> None:
    for draw, name in chains(scale(1, 30), "databases"):
        points = [draw.choice(DATABASES)] if FULL else DATABASES
        moments = [("while mlflow.db is made", moment_at(point, draw, longest=1.5)) for point in points]
        kills.attempt(first, moments, tmp_path / name)


def test_scoring(kills: Kills, scoring: Subject, tmp_path: Path) -> None:
    for draw, name in chains(scale(1, 40), "scoring"):
        # Twice for each of eight parts: the first six are there when the last kill comes.
        every_day = [Moment("os:replace", 2, "before", signal=signal) for signal in (*SIGNALS, *SIGNALS[:2])]
        points = [moment_at(draw.choice(WRITING), draw, longest=0)] if FULL else every_day
        kills.attempt(scoring, [("between write and rename", point) for point in points], tmp_path / f"{name}-points")
        if FULL:
            kills.attempt(scoring, [("at any moment", scoring.random_moment(draw))], tmp_path / name)


@pytest.mark.usefixtures("full_scale")
def test_a_first_run(kills: Kills, first: Subject, tmp_path: Path) -> None:
    for draw, name in chains(scale(0, 60), "first"):
        step = draw.randrange(len(first.steps))

        def prepare(home: Home, step: int = step) -> None:
            without_steps(home, [*first.steps][step:])

        moments = [("a first run, at any moment of a step", first.random_moment(draw, step))]
        kills.attempt(first, moments, tmp_path / name, prepare)


@pytest.mark.usefixtures("full_scale")
def test_instructions(kills: Kills, prefect_api: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("instruct")
    subject = instructions(folder, {"PREFECT_API_URL": prefect_api}).undisturbed(tmp_path / "undisturbed")
    for draw, name in chains(scale(0, 40), "instruct"):
        moment = subject.random_moment(draw, draw.randrange(len(subject.steps)))
        kills.attempt(subject, [("at any moment of a step", moment)], tmp_path / name)
        moment = moment_at(draw.choice((*CHECKPOINT, *REGISTRATION)), draw, longest=0.1)
        kills.attempt(subject, [("at the worst points", moment)], tmp_path / f"{name}-point")


@pytest.mark.usefixtures("full_scale")
def test_delivery(kills: Kills, first: Subject, tmp_path: Path) -> None:
    start = copy_of(first.start, tmp_path / "start")
    away = replace(start, environment={**start.environment, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"})
    away.run()  # whose record waits
    waiting = Subject("deliver", ["deliver", "--all"], start, is_a_run=False).undisturbed(tmp_path / "undisturbed")
    assert waiting.expected.versions == first.expected.versions
    for draw, name in chains(scale(0, 40), "delivery"):
        moments = [("while a record is delivered", moment_at(draw.choice(DELIVERY), draw, longest=0.1))]
        kills.attempt(waiting, moments, tmp_path / name)


@pytest.mark.usefixtures("full_scale")
@pytest.mark.parametrize("has_database", [True, False])
def test_with_a_server_of_its_own(
    kills: Kills, later: Subject, give_database: Callable[[Home], None], tmp_path: Path, has_database: bool
) -> None:
    start = copy_of(later.start, tmp_path / "start")
    if has_database:
        give_database(start)
    alone = replace(later, start=replace(start, environment={}), seconds=later.seconds + 6)
    fault = "with a Prefect server of its own" if has_database else "while Prefect's database is made"
    for draw, name in chains(scale(0, 20), f"alone {has_database}"):
        moment = alone.random_moment(draw) if has_database else moment_at(PREFECT, draw, longest=6)
        kills.attempt(alone, [(fault, moment)], tmp_path / name)
