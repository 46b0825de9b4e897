"""Prefect's server is lost, slow or lying while a run goes on: that ends with its result, and the server is told."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.run.unfinished import begun, tell_ends
from tasks.engine.pageless import TRIES_AGAIN, impatient
from tests.faults.outcomes import FULL, Outcomes, Try, scale
from tests.support.e2e import HTTP, Home, copy_of, free_port, of_home, ran, serving
from tests.support.unreliable_server import Mode, UnreliableServer, unreliable

pytestmark = [pytest.mark.faults, pytest.mark.e2e]

KILLED, SILENT = signal.SIGKILL, signal.SIGSTOP  # one that is stopped takes connections, and answers none
EVERYWHERE = ("download", "finetune", "register")
TRIED = [(kind, step) for kind in (KILLED, SILENT) for step in EVERYWHERE] if FULL else [(KILLED, "finetune")]
INCOMPLETE = "warning: Prefect's page of this run is incomplete: the temporary server was lost on the way ("
REQUESTS = 24  # of a run that finds all its artifacts; a few more or less do not matter
WORDS: dict[Mode, str] = {
    "away": "no connection",
    "500": "500 for every request",
    "html": "a page of HTML with status 200",
    "silent": "no answer",
    "lost": "requests are carried out and not answered",
}
WAYS: list[Mode] = list(WORDS) if FULL else ["html"]
LONGEST = 240  # seconds of a run
HOURS = pytest.mark.skipif(not FULL, reason="tried by `make faults` alone")


def server_of(home: Home) -> psutil.Process:
    """The temporary server of a home's run, below its keeper."""
    (found,) = [
        process
        for process in of_home(home)
        if "uvicorn" in process.cmdline() and not any("keeper.py" in part for part in process.cmdline())
    ]
    return found


@pytest.mark.parametrize(("kind", "step"), TRIED, ids=lambda value: getattr(value, "name", value))
def test_a_run_goes_on_without_its_page(
    kind: signal.Signals, step: str, copied: Home, give_database: Callable[[Home], None], outcomes: Outcomes
) -> None:
    give_database(copied)
    home = replace(copied, environment={})
    arguments = home.arguments("--json", "--training.learning_rate=0.003")
    run = subprocess.Popen(
        home.command(*arguments), env=home.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    while not (line := run.stderr.readline()).startswith(f"{step} begins"):
        assert line, run.communicate()
    with outcomes.trying(f"Prefect's server {kind.name} at {step}") as tried, ended(run):
        server_of(home).send_signal(kind)
        began = time.monotonic()
        out, err = run.communicate(timeout=LONGEST)
        tried.seconds = time.monotonic() - began
        assert run.returncode == 0, err
        assert (err.count(INCOMPLETE), "Traceback" in err) == (1, False), err
        assert of_home(home) == []
        result = json.loads(out.splitlines()[-1])
        assert "finetune" in ran(result)
        assert result["registered"]["new"]
        assert ran(home.run("--training.learning_rate=0.003")) == []
        assert state(home, result["flow_run"]) == "COMPLETED"


@contextmanager
def ended(run: subprocess.Popen[str]) -> Iterator[None]:
    """Kills a run at the block's end that goes on then."""
    try:
        yield
    finally:
        run.kill()


def state(home: Home, flow_run: str) -> str:
    """What the home's Prefect database says of a run."""
    with closing(sqlite3.connect(home.folder / "prefect" / "prefect.db")) as database:
        ((found,),) = database.execute(
            "select state_type from flow_run where replace(id, '-', '') = ?", [flow_run.replace("-", "")]
        )
    return str(found)


@pytest.fixture(scope="module")
def proxy(prefect_api: str) -> Iterator[UnreliableServer]:
    """A server that PREFECT_API_URL names, and that fails as it is told."""
    with unreliable(prefect_api.removesuffix("/api")) as server:
        yield server


@pytest.fixture(scope="module")
def named(finished: tuple[Home, Any], proxy: UnreliableServer, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which runs find all their artifacts, and whose runs are shown by that server."""
    home = copy_of(finished[0], tmp_path_factory.mktemp("named") / "home")
    return replace(home, environment={"PREFECT_API_URL": f"{proxy.url}/api"})


def test_a_server_that_is_lost_is_not_told_of_one_run_after_another(
    named: Home, proxy: UnreliableServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(named.folder))
    api = named.environment["PREFECT_API_URL"]
    notes = [begun(str(uuid4()), api) for _ in range(3)]
    for note in notes:
        note.end(None)
    with impatient(), temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as prefect:
        proxy.behave("lost")
        tell_ends(prefect, api)
        assert len(proxy.requests) == 1 + TRIES_AGAIN
        assert all(note.file.exists() for note in notes)
        proxy.behave("well")
        tell_ends(prefect, api)  # it knows none of them
    assert not any(note.file.exists() for note in notes)


def lost_by(home: Home, done: subprocess.CompletedProcess[str], name: str) -> str:
    """What is missing of a run whose server failed, in a sentence; empty: nothing. Its server works again."""
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "warning: "))]
    if done.returncode == 2 and done.stderr.splitlines()[1:] == complaints[:1]:
        return ""  # one sentence, before there was anything to lose
    if done.returncode or len(complaints) > 1 or "Traceback" in done.stderr or "--- " in done.stderr:
        return f"{name}: {done.returncode} {done.stderr[-500:]!r}"
    result = json.loads(done.stdout.splitlines()[-1])
    if not (result["registered"]["name"] == name and result["metrics"]):
        return f"{name}: {result}"
    api = home.environment["PREFECT_API_URL"]
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_URL: api}),
        get_client(sync_client=True) as prefect,
    ):
        patch.setenv("FINETUNE_HOME", str(home.folder))
        tell_ends(prefect, api)  # as the next run does
    state = HTTP.get(f"{api}/flow_runs/{result['flow_run']}").json()["state_type"]
    return "" if state == "COMPLETED" else f"{name}: Prefect's server says {state}"


@pytest.mark.parametrize("way", WAYS)
def test_a_named_server_fails_at_any_request_and_stays_so(
    way: Mode, named: Home, proxy: UnreliableServer, outcomes: Outcomes
) -> None:
    choice = random.Random(way)
    for number in range(scale(ci=1, full=4)):
        name, after = f"{way}-{number}", choice.randrange(1, REQUESTS)
        with outcomes.trying(
            f"Prefect's named server fails in the middle of a run and stays so: {WORDS[way]}"
        ) as tried:
            done = called(named, name, proxy, tried, way, after=after)
            lost = lost_by(named, done, name)
            assert not lost, f"after {after} requests: {lost}"


def called(
    home: Home, name: str, proxy: UnreliableServer, tried: Try, way: Mode, *, after: int = 0, during: float = inf
) -> subprocess.CompletedProcess[str]:
    """A run whose server fails so after some requests, for all that follow or for a number of them."""
    proxy.behave(way, after=after, during=during)
    began = time.monotonic()
    try:
        return home.call(*home.arguments("--json", f"--registry.name={name}"))
    finally:
        tried.seconds = time.monotonic() - began
        proxy.behave("well")


@HOURS
@pytest.mark.parametrize("way", WORDS)
def test_a_named_server_that_fails_from_the_beginning_is_one_sentence(
    way: Mode, named: Home, proxy: UnreliableServer, outcomes: Outcomes
) -> None:
    with outcomes.trying(f"Prefect's named server fails from the start: {WORDS[way]}") as tried:
        done = called(named, way, proxy, tried, way)
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: Prefect does not answer at "), done.stderr
        assert done.stderr.count("\n") == 2, done.stderr


@HOURS
@pytest.mark.parametrize("way", ["lost", "500"])
def test_a_named_server_that_fails_for_a_moment(
    way: Mode, named: Home, proxy: UnreliableServer, outcomes: Outcomes
) -> None:
    choice = random.Random(f"a moment, {way}")
    for number in range(scale(ci=0, full=4)):
        name, after = f"moment-{way}-{number}", choice.randrange(1, REQUESTS)
        with outcomes.trying(f"one request to Prefect's named server fails: {WORDS[way]}") as tried:
            done = called(named, name, proxy, tried, way, after=after, during=1)
            lost = lost_by(named, done, name)
            assert not lost, f"after {after} requests: {lost}"


@HOURS
def test_a_slow_named_server_is_waited_for(named: Home, proxy: UnreliableServer, outcomes: Outcomes) -> None:
    for number in range(scale(ci=0, full=1)):
        with outcomes.trying(f"Prefect's named server answers every request {proxy.slow:g} seconds late") as tried:
            done = called(named, f"slow-{number}", proxy, tried, "slow")
            assert "warning: " not in done.stderr, done.stderr
            lost = lost_by(named, done, f"slow-{number}")
            assert not lost, lost


@HOURS
@pytest.mark.parametrize("step", EVERYWHERE)
def test_a_named_server_is_started_again_on_the_way(
    step: str, copied: Home, tmp_path: Path, outcomes: Outcomes
) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    home = replace(copied, environment={"PREFECT_API_URL": api})
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    places = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_API_PORT": str(port)}
    server = serving(command, health=f"{api}/health", folder=tmp_path / "prefect", environment=places)
    with server:
        run = home.start("--training.learning_rate=0.003", "--registry.name=restarted")
        assert run.stderr is not None
        said = ""
        while not (line := run.stderr.readline()).startswith(f"{step} begins"):
            assert line, said
            said += line
    again = serving(command, health=f"{api}/health", folder=tmp_path / "prefect", environment=places)
    with outcomes.trying(f"Prefect's named server started again at {step}") as tried, ended(run):
        began = time.monotonic()
        with again:
            out, err = run.communicate(timeout=LONGEST)
            tried.seconds = time.monotonic() - began
            lost = lost_by(home, subprocess.CompletedProcess(run.args, run.returncode, out, said + err), "restarted")
        assert not lost, lost


@HOURS
def test_a_kill_while_prefects_database_is_made(copied: Home, outcomes: Outcomes) -> None:
    choice = random.Random("a first migration")
    home = replace(copied, environment={})
    log = home.folder / "prefect" / ".prefect.db-new-wal"  # grows with every migration
    for _ in range(scale(ci=0, full=8)):
        for file in (home.folder / "prefect").glob("*prefect.db*"):
            file.unlink()
        size = choice.randrange(2_000_000)
        run = home.start()
        while run.poll() is None and (not log.exists() or size_of(log) < size):
            os.sched_yield()
        for process in of_home(home):
            process.kill()
        run.communicate()
        with outcomes.trying("a kill while Prefect's database is made") as tried:
            began = time.monotonic()
            done = home.call(*home.arguments("--json"))
            tried.seconds = time.monotonic() - began
            assert done.returncode == 0, f"{size}: {done.stderr}"
            assert ran(json.loads(done.stdout.splitlines()[-1])) == [], size


def size_of(file: Path) -> int:
    """Its bytes; none where it has just gone."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 2**62
