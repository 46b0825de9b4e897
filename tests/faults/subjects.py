"""The commands that are killed, the moments at which they are, and what is looked at after the next run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib.data.samples.entries import FILE as SAMPLE
from tests.support.e2e import PROJECT, Home, copy_of
from tests.support.forked import run_forked
from tests.support.killed import Moment, struck
from tests.support.whole import Whole, left_over, open_runs, processes_of, whole

LONGEST = 240.0  # seconds that a command may take; what takes longer hangs
STOPPED = 30.0  # seconds within which a command must have ended that was asked to, on a machine with other work
LET_GO = 10.0  # seconds within which children of a killed process must have ended
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
MLFLOW = "mlflow.tracking.client:MlflowClient."
INSTRUCT = (
    "--prompt.style=phi3",
    "--model.size=tiny",
    "--model.weights=scratch",
    "--training.epochs=1",
    "--training.learning_rate=0.003",
    "--training.evaluate_every=3",
    "--training.evaluate_batches=1",
    "--training.checkpoint_every=2",
    "--respond.max_new_tokens=8",
    "--registry.name=follower",
)
BEGIN = "tasks.engine.runner:Performer._begin"


@dataclass(frozen=True)
class Point:
    """A place in the program between which and the next a kill is worst. calls: how often it is passed at most."""

    at: str
    calls: int = 1
    when: tuple[str, ...] = ("before", "after")


# In the order in which a run passes them.
CHECKPOINT = (
    Point("lib.training.checkpoint:write_checkpoint", 8),
    Point("lib.training.checkpoint:into_place", 12),
    Point("lib.training.checkpoint:write_tensors", 8, ("before", "during", "after")),
)
WRITING = (Point("os:rename", 5), Point("os:replace", 8), Point("os:fsync", 60))
RECORD = (
    Point(f"{MLFLOW}create_run"),
    Point(f"{MLFLOW}log_batch", 6),
    Point(f"{MLFLOW}log_artifact", 3),
    Point(f"{MLFLOW}set_terminated"),
)
REGISTRATION = (
    Point(f"{MLFLOW}create_logged_model"),
    Point(f"{MLFLOW}log_model_artifacts", 1, ("before", "during", "after")),
    Point(f"{MLFLOW}finalize_logged_model"),
    Point(f"{MLFLOW}create_model_version"),
    Point(f"{MLFLOW}set_model_version_tag", 4),
    Point(f"{MLFLOW}set_registered_model_alias"),
)
DATABASES = (
    Point("mlflow.store.db.utils:_initialize_tables", 1, ("before", "during", "after")),
    Point("mlflow.store.db.utils:_upgrade_db", 1, ("before", "during", "after")),
)
DELIVERY = (*RECORD, *REGISTRATION, Point("os:replace", 4), Point("os:unlink", 3))
PREFECT = Point("flows.run.temporary_server:_started", 1, ("before", "during", "after"))


@dataclass(frozen=True)
class Subject:
    """A command, the home that it begins in, and what an undisturbed run of it comes to.

    steps: seconds of each, in order. seconds: of the whole command. is_a_run: that MLflow knows how it ended.
    """

    name: str
    arguments: Sequence[str]  # of `finetune`
    start: Home
    steps: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    expected: Whole = field(default_factory=Whole)
    is_a_run: bool = True

    def undisturbed(self, folder: Path) -> Subject:
        """The same with what a run that nobody kills comes to."""
        trial = Trial(self, folder)
        started = time.monotonic()
        result = trial.good()
        seconds = time.monotonic() - started
        steps = {step["step"]: float(step["seconds"]) for step in result.get("steps", [])}
        expected = whole(trial.home.folder, result)
        shutil.rmtree(folder)
        return replace(self, steps=steps, seconds=seconds, expected=expected)

    def random_moment(self, draw: random.Random, step: int | None = None) -> Moment:
        """Any moment of a step; without one, any of the whole command."""
        longest = self.seconds if step is None else max([*self.steps.values()][step], 0.05)
        return Moment(
            "" if step is None else BEGIN,
            call=1 if step is None else step + 1,
            seconds=round(draw.random() * longest, 3),
            signal=draw.choice(SIGNALS),
            group=draw.random() < 0.5,
        )


def moment_at(point: Point, draw: random.Random, *, longest: float) -> Moment:
    """A moment at a point; `longest`: seconds after it began."""
    when: Any = draw.choice(point.when)
    return Moment(
        point.at,
        call=draw.randint(1, point.calls),
        when=when,
        seconds=round(draw.random() * longest, 3) if when == "during" else 0.0,
        signal=draw.choice(SIGNALS),
        group=draw.random() < 0.5,
    )


@dataclass(frozen=True)
class Killed:
    """A run that was sent a signal. seconds: until it had ended."""

    moment: Moment
    seconds: float
    problems: list[str]


class Trial:
    """A home in which a subject runs, is killed, and runs again."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject, self.temporary = subject, folder / "tmp"
        self.temporary.mkdir(parents=True)
        home = copy_of(subject.start, folder / "home")
        self.home = replace(home, environment={**home.environment, "TMPDIR": str(self.temporary)})

    def kill(self, moment: Moment) -> Killed | None:
        """Runs the command until the moment; None if it had ended before."""
        try:
            done = self._run(moment.json())
        except subprocess.TimeoutExpired as late:
            return Killed(moment, LONGEST, [f"it went on for {LONGEST:g} s: {late.stderr!r}"])
        sent = struck(done.stderr)
        if sent is None:
            assert done.returncode == 0, done.stderr
            return None
        seconds = time.monotonic() - sent
        return Killed(moment, seconds, [*self._unlike_a_stop(moment, done, seconds)])

    def _unlike_a_stop(self, moment: Moment, done: subprocess.CompletedProcess[str], seconds: float) -> Iterator[str]:
        """What a person who stopped it would complain about."""
        if "Traceback" in done.stderr:
            yield f"a traceback: …{done.stderr[-600:]}"
        if moment.signal != "SIGKILL":
            yield from self._unlike_what_was_asked(moment, done.returncode, seconds)
        ends = time.monotonic() + LET_GO
        while (left := processes_of(self.home.folder)) and time.monotonic() < ends:
            time.sleep(0.1)
        if left:
            yield f"processes {left} go on without it"

    def _unlike_what_was_asked(self, moment: Moment, status: int, seconds: float) -> Iterator[str]:
        """What differs from an orderly end: the status of one that the signal stopped, or of a run that had just done
        its work; and MLflow knows it."""
        number = signal.Signals[moment.signal]
        if status not in (0, 128 + number, -number):  # the last before the program has begun to listen
            yield f"it ended with status {status}"
        if seconds > STOPPED:
            yield f"it ended {seconds:.0f} s later"
        waits = any((self.home.folder / "outbox").glob("*.json"))  # for the next run to tell it
        if self.subject.is_a_run and not waits:
            yield from open_runs(self.home.folder)

    def good(self) -> Any:
        """Runs the command to its good end; what it printed with --json."""
        done = self._run("")
        assert done.returncode == 0, done.stdout + done.stderr
        last = done.stdout.splitlines()[-1]
        return json.loads(last) if last.startswith("{") else {}

    def recover(self) -> tuple[float, list[str]]:
        """Runs the command once more; the seconds, and what is not as if nobody had ever killed it."""
        started = time.monotonic()
        try:
            result = self.good()
        except AssertionError as error:
            return time.monotonic() - started, [f"the next run failed: …{str(error)[-600:]}"]
        except subprocess.TimeoutExpired:
            return LONGEST, ["the next run did not end"]
        seconds = time.monotonic() - started
        other = self.subject.expected.differences(whole(self.home.folder, result))
        processes = [f"process {pid} is there" for pid in processes_of(self.home.folder)]
        return seconds, [*other, *left_over(self.home.folder, self.temporary), *processes]

    def _run(self, moment: str) -> subprocess.CompletedProcess[str]:
        arguments = [argument.replace("{home}", str(self.home.folder)) for argument in self.subject.arguments]
        command = ["tests.support.killed", moment, "flows", *arguments]
        return run_forked(command, folder=PROJECT, environment=self.home.env(), seconds=LONGEST)


def instructions(folder: Path, environment: dict[str, str]) -> Subject:
    """The other flow over forty entries, in an empty home."""
    data, recipe = folder / "entries.json", folder / "quick.yaml"
    data.write_text(json.dumps(json.loads(SAMPLE.read_text(encoding="utf-8"))[:40]), encoding="utf-8")
    recipe.write_text("name: quick\ndata: {source: file}\n", encoding="utf-8")
    start = Home(folder / "home", data, environment)
    start.folder.mkdir()
    arguments = ["instruct", "--recipe", str(recipe), f"--data.url={data}", *INSTRUCT, "--json"]
    return Subject("instruct", arguments, start)


def without_steps(home: Home, steps: Sequence[str]) -> None:
    """Takes what these steps made out of a home's store."""
    for step in steps:
        for folder in (home.folder / "store" / step, home.folder / "store" / ".results" / step):
            shutil.rmtree(folder, ignore_errors=True)


def seed() -> int:
    """What the moments are drawn with: FINETUNE_FAULTS_SEED, or a number of its own."""
    return int(os.environ.get("FINETUNE_FAULTS_SEED", "1126"))
