"""What a person or a script sees of a run: progress bars, one line of JSON, Ctrl-C, and where to look further."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.classify import PROGRAM
from flows.terminal import command_line, runs
from flows.terminal.display import where_to_look
from flows.use_cases.classify import CLASSIFY
from tests.support.e2e import PROJECT, Home, experiment_id, of_home, wait_until
from tests.support.said import after_the_first_line


@pytest.mark.e2e
def test_json_on_a_run_prints_exactly_one_line_on_standard_output(again: tuple[Home, Any]) -> None:
    assert again[1].stdout.count("\n") == 1
    assert json.loads(again[1].stdout)["recipe"] == "quick"


@pytest.mark.e2e
def test_a_terminal_shows_a_bar_while_training(copied: Home) -> None:
    status, shown = in_a_terminal(copied, *copied.arguments("--training.learning_rate=0.002"))
    assert status == 0, shown
    assert re.search(r"finetune\S* .*\d+/\d+.* steps", shown), shown
    assert "\x1b[?25h" in shown  # the cursor is back
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert plain.splitlines()[-2:] == [
        "curves and models in MLflow: http://127.0.0.1:5000 (once `finetune ui` runs)",
        f"runs and steps in Prefect: {copied.environment['PREFECT_API_URL'].removesuffix('/api')}",
    ]


def in_a_terminal(home: Home, *arguments: str) -> tuple[int, str]:
    """The exit status of a run whose three streams are a terminal, and all that the terminal got."""
    ours, theirs = pty.openpty()
    environment = {**home.env(), "TERM": "xterm"}
    command = home.command(*arguments)
    process = subprocess.Popen(command, cwd=home.project, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # which is how a terminal ends once nobody has its other side open
        while piece := os.read(ours, 2**16):
            shown += piece
    os.close(ours)
    return process.wait(60), shown.decode()


KEPT = "finished steps and the last checkpoint are kept, and the same command goes on from there"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("server", "kind", "under", "said"),
    [
        ("named", signal.SIGINT, ["nohup"], "interrupted"),
        ("temporary", signal.SIGTERM, ["timeout", "600"], "stopped by SIGTERM"),
    ],
)
def test_a_signal_to_all_its_group_ends_a_run_in_one_line_with_a_checkpoint(
    copied: Home, server: str, kind: signal.Signals, under: list[str], said: str, give_database: Callable[[Home], None]
) -> None:
    give_database(copied)  # which a temporary server uses
    home = copied if server == "named" else replace(copied, environment={})
    long = ["--training.epochs=200", "--training.checkpoint_every=100000"]
    run = subprocess.Popen(
        [*under, *home.command(*home.arguments("--json", *long))],
        cwd=home.project,
        env=home.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, all of which a terminal would interrupt
    )
    assert run.stderr is not None
    try:
        err = "".join(iter(run.stderr.readline, "finetune begins\n"))
        err += run.stderr.readline()  # the first evaluation
        if under == ["nohup"]:
            os.killpg(run.pid, signal.SIGHUP)  # which changes nothing
        os.killpg(run.pid, kind)  # `timeout` sends it on: to the run, and to all the group
        out, rest = run.communicate(timeout=60)  # to the end of the pipes, which nobody else holds
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    *lines, last = after_the_first_line(err + rest).splitlines()
    assert (run.returncode, out, last) == (128 + kind, "", f"{said}: {KEPT}")
    assert lines[-1].startswith("step ")  # the last evaluation; before it, what each step came to
    assert all(re.match(r"step \d+, epoch |\w+ begins$|\w+ (ran|cached) \(", line) for line in lines), err
    assert of_home(home) == []
    assert len(list((home.folder / "store" / ".scratch" / "finetune").rglob("checkpoint-*.safetensors"))) == 1
    client = MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    newest, _ = client.search_runs(
        [experiment_id(client, "finetune-classifier")], order_by=["attributes.start_time DESC"]
    )
    assert newest.info.status == "KILLED"


@pytest.mark.e2e
def test_a_killed_run_leaves_no_process(copied: Home, give_database: Callable[[Home], None]) -> None:
    give_database(copied)
    home = replace(copied, environment={})
    run = subprocess.Popen(
        home.command(*home.arguments()), cwd=home.project, env=home.env(), stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    while not run.stderr.readline().startswith("download"):
        assert run.poll() is None
    assert len(of_home(home)) > 1
    run.kill()
    assert "Traceback" not in run.stderr.read()  # which comes to its end: nobody else holds the pipe
    run.wait()
    wait_until(lambda: of_home(home) == [], seconds=60, what="the end of the temporary server")


def test_a_failed_step_stands_in_the_table_and_its_reason_comes_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "prefect_server", nullcontext)
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    outcomes = [
        {"step": "respond", "state": "ran", "seconds": 2.5, "artifact": None},
        {"step": "judge", "state": "failed", "seconds": 0.25, "artifact": None, "reason": "no judge answers: start it"},
    ]
    result = {"recipe": "mine", "flow_run": "1", "mlflow_run": "2", "steps": outcomes, "metrics": {"chrf": 27.25}}
    use_case = replace(
        CLASSIFY,
        facts=lambda artifacts, metrics, recipe: iter([("chrF of", f"[{recipe.name}] {metrics['chrf']} {artifacts}")]),
    )
    program = replace(
        PROGRAM,
        use_case=lambda: use_case,
        run=lambda use_case, recipe: {**result, "registered": None, "seconds": 3.0},
    )
    assert command_line.main([], program) == 2
    said = capsys.readouterr()
    shown = [[cell.strip() for cell in line.strip("│").split("│")] for line in said.out.splitlines() if "│" in line]
    assert shown == [
        ["chrF of", "[quickstart] 27.25 {}"],
        ["respond", "ran", "2.50", ""],
        ["judge", "failed", "0.25", ""],
    ]
    assert "registered" not in said.out
    assert after_the_first_line(said.err) == "error: no judge answers: start it\n"


@pytest.mark.parametrize("arguments", [["--explain", "--json"], ["--explain"]])
def test_a_reader_who_has_enough_sees_no_traceback(tmp_path: Path, arguments: list[str]) -> None:
    home = Home(tmp_path / "home", tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        done = subprocess.run(
            home.command(*arguments), cwd=PROJECT, env=home.env(), stdout=nobody, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, after_the_first_line(done.stderr.decode())) == (1, "")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGHUP], ids=lambda kind: kind.name)
def test_what_the_tests_start_heeds_signals_that_the_tests_ignore(kind: signal.Signals) -> None:
    """As they do under `nohup`, or in the background of a script."""
    name = f"signal.{kind.name}"
    start = [sys.executable, "-c", f"import signal; print({name}.name, signal.getsignal({name}) == signal.SIG_IGN)"]
    tests = f"""
import signal, subprocess
signal.signal({name}, signal.SIG_IGN)
from tests.support.e2e import let_children_heed_signals
subprocess.run({start})
let_children_heed_signals()
subprocess.run({start})
signal.raise_signal({name})  # ignored here still
"""
    done = subprocess.run([sys.executable, "-c", tests], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{kind.name} True", f"{kind.name} False"]


LATER = " (once `finetune ui` runs)"


@pytest.mark.parametrize(
    ("tracking", "prefect", "hints"),
    [
        (None, None, [f"http://127.0.0.1:5000{LATER}", f"http://127.0.0.1:4200{LATER}"]),
        ("sqlite:////tmp/other.db", None, [f"http://127.0.0.1:5000{LATER}", f"http://127.0.0.1:4200{LATER}"]),
        ("https://me:secret@mlflow.org/", None, ["https://mlflow.org", f"http://127.0.0.1:4200{LATER}"]),
        (None, "http://me:secret@prefect.org/api", [f"http://127.0.0.1:5000{LATER}", "http://prefect.org"]),
    ],
)
def test_a_run_ends_with_where_its_pages_are(
    tracking: str | None, prefect: str | None, hints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MLFLOW_TRACKING_URI", tracking), ("PREFECT_API_URL", prefect)):
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    with temporary_settings({PREFECT_API_URL: prefect}):
        assert [hint.partition(": ")[2] for hint in where_to_look()] == hints
