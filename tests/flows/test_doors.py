"""The program `finetune` and its doors: what they cost before they do anything, and what a shell completes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.__main__ import DOORS, main
from flows.completion import whole
from tests.support.e2e import PROJECT, Home
from tests.support.forked import can_be_forked

HEAVY = {"prefect", "mlflow", "pandas", "torch", "pyarrow", "numpy", "sqlalchemy", "uvicorn", "shtab", "psutil"}
SHOWS_HEAVY = f"""
import sys
from flows.__main__ import main
try:
    main(sys.argv[1:])
finally:
    print(*sorted(set({sorted(HEAVY)}) & sys.modules.keys()), file=sys.stderr)
"""
MISTAKES = {"deploy": ["--colour"], "completion": ["fish"], "store": ["lst"]}


def heavy(*arguments: str) -> tuple[str, str]:
    """What a command prints, and the last line of what it says on standard error: the heavy modules it imported."""
    command = [sys.executable, "-c", SHOWS_HEAVY, *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("door", DOORS)
def test_help_imports_nothing_heavy(door: str) -> None:
    said, modules = heavy(door, "--help")
    assert said.startswith(f"usage: finetune {door}")
    assert modules == ""


@pytest.mark.parametrize("door", DOORS)
def test_a_mistake_imports_nothing_heavy(door: str) -> None:
    said, modules = heavy(door, *MISTAKES.get(door, ["--no-such-flag=3"]))
    assert said.startswith("error: ")
    assert modules == ""


@pytest.mark.parametrize("door", DOORS)
def test_a_module_is_the_same_door(door: str) -> None:
    command = [sys.executable, "-m", DOORS[door].module, *DOORS[door].before, "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"usage: finetune {door}")


COMMANDS = [
    (["classify"], "finetune classify: recipe quickstart; everything lies in {home}"),
    (["instruct"], "finetune instruct: recipe quickstart; everything lies in {home}"),
    (["predict", "hi"], "finetune predict: "),
    (["answer", "hi"], "finetune answer: "),
    (["score", "a.csv", "--output", "b"], "finetune score: a.csv; answers go to b, records to {home}"),
    (["serve"], "finetune serve: "),
    (["export", "--format", "hf", "a"], "finetune export: "),
    (["push", "owner/name"], "finetune push: "),
    (["promote", "1"], "finetune promote: "),
    (["rollback"], "finetune rollback: "),
    (["inspect", "--tokenizer", "gpt2"], "finetune inspect: the bundled messages"),
    (["store", "list"], "finetune store list: {home}/store"),
    (["ui"], "finetune ui: "),
    (["up"], "finetune up: starts the servers and a worker; everything lies in {home}"),
    (["deploy"], "finetune deploy: "),
]


@pytest.mark.parametrize(("arguments", "first"), COMMANDS, ids=[" ".join(arguments) for arguments, _ in COMMANDS])
def test_the_first_line_comes_before_what_takes_seconds(tmp_path: Path, arguments: list[str], first: str) -> None:
    """Nothing heavy is imported by then: its import would end this process."""
    guard = f"""
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name in {sorted(HEAVY)}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Guard())
from flows.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", guard, *arguments]
    environment = {**os.environ, "FINETUNE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.startswith(first.format(home=tmp_path)), done.stderr


def test_an_unknown_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clasify"]) == 2
    assert capsys.readouterr().err == "error: there is no command 'clasify': did you mean classify?\n"
    assert main(["xyz"]) == 2
    assert capsys.readouterr().err == "error: there is no command 'xyz': finetune --help lists all of them\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["-h"], ["--help"]):
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert all(f"\n  {name} " in printed for name in DOORS)


COMPLETED = [
    (["finetune", "cla"], "classify"),
    (["finetune", "classify", "--training.lea"], "--training.learning_rate"),
    (["finetune", "classify", "--recipe", "sms-t"], "sms-tiny"),
    (["finetune", "instruct", "--recipe", "gpt2-m"], "gpt2-medium"),
    (["finetune", "store", "prune", "--unref"], "--unreferenced"),
    (["finetune", "push", "--pub"], "--public"),
    (["finetune", "score", "--drift.p"], "--drift.psi"),
    (["finetune", "inspect", "--data.te"], "--data.text_column"),
]


@pytest.mark.parametrize(("words", "completed"), COMPLETED, ids=[" ".join(words) for words, _ in COMPLETED])
def test_bash_completes(words: list[str], completed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f'{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_finetune; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [completed], done.stderr


def test_zsh_reads_its_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("#compdef finetune")
    assert "--training.learning_rate" in script
    if zsh := shutil.which("zsh"):
        (tmp_path / "_finetune").write_text(script)
        subprocess.run([zsh, "-n", str(tmp_path / "_finetune")], check=True)


def test_every_door_has_its_flags_completed() -> None:
    assert all(name in whole().format_help() for name in DOORS)


def test_help_answers_at_once() -> None:
    """Five times what it needs, in the processor's seconds, which a busy machine has no more of."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "flows", "classify", "--help"], cwd=PROJECT, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--json", ""], ["--training.epohcs=3"]], ids=" ".join)
def test_a_command_that_tests_fork_prints_and_ends_as_any_other(tmp_path: Path, arguments: list[str]) -> None:
    home = Home(tmp_path, tmp_path)
    assert can_be_forked(home.environment)
    forked = home.call(*arguments)
    command = home.command(*arguments)
    own = subprocess.run(command, cwd=PROJECT, env=home.env(), capture_output=True, text=True, check=False)
    assert (forked.returncode, forked.stdout, forked.stderr) == (own.returncode, own.stdout, own.stderr)
    assert not can_be_forked({"PYTHONPROFILEIMPORTTIME": "1"})
