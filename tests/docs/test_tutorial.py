"""docs/tutorial.md, command after command, as a person types them in a checkout of the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.e2e import PROJECT, Home, free_port, wait_until
from tests.support.forked import run_forked

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SHIPPED = ("flows", "tasks", "lib", "recipes", "docs", "deploy", "prefect.yaml", "pyproject.toml")
HERE = "/home/me/finetune-flows"  # where the page's project lies
PORTS = ("4200", "5000", "5050")
ELSEWHERE = ("make ",)  # what other tests run
PROGRAM = ".venv/bin/finetune "
BLOCKING = (f"{PROGRAM}up", f"{PROGRAM}serve")
SECONDS = 240  # of one command
BORDERS = re.compile("[─━│┃┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇┳┻]+")
NUMBERS = re.compile(r"\b[0-9a-f]{10,}\b|\d(?:[\d,.:]*\d)?(?:e-?\d+)?")


@dataclass(frozen=True)
class Block:
    """Commands of the page, what it says they print, and the section in which both stand."""

    section: str
    commands: str
    printed: str


def blocks(page: str) -> Iterator[Block]:
    """The page's blocks of commands in their order."""
    section = ""
    pattern = r"^## (?P<title>[^\n]+)$|^```sh\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?"
    for match in re.finditer(pattern, page, flags=re.MULTILINE | re.DOTALL):
        section = match["title"] or section
        if match["commands"] and not match["commands"].startswith(ELSEWHERE):
            yield Block(section, match["commands"], match["printed"] or "")


def words(text: str) -> list[str]:
    """The lines of what is printed, with `#` for each number and without the borders of tables."""
    lines = (NUMBERS.sub("#", BORDERS.sub(" ", line)) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def missing(expected: str, printed: str) -> list[str]:
    """The expected lines that were not printed, in this order; `…` stands for any text, alone for any lines."""
    rest = iter(words(printed))
    wanted = [re.compile(re.escape(line).replace("…", ".*")) for line in words(expected) if line != "…"]
    return [line.pattern for line in wanted if not any(line.fullmatch(each) for each in rest)]


class Terminal:
    """A checkout in which commands are run, in one environment that `export` changes."""

    def __init__(self, folder: Path, api: str) -> None:
        self.folder = folder
        self.environment = {**Home(folder, folder).env(), "PREFECT_API_URL": api, "PYTHONPATH": str(folder)}
        for name in ("FINETUNE_HOME", "PREFECT_HOME"):
            del self.environment[name]  # everything lies in the checkout
        self.ports = {port: str(free_port()) for port in PORTS}
        self.running: dict[str, subprocess.Popen[str]] = {}
        for name in SHIPPED:
            here = PROJECT / name
            (shutil.copytree if here.is_dir() else shutil.copy)(here, folder / name)
        commands = {
            "python": sys.executable,
            "prefect": f"{sys.executable} -m prefect",
            "finetune": f"{sys.executable} -m flows",
        }
        (folder / ".venv" / "bin").mkdir(parents=True)
        for name, real in commands.items():
            command = folder / ".venv" / "bin" / name
            command.write_text(f'#!/bin/sh\nexec {real} "$@"\n', encoding="utf-8")
            command.chmod(0o755)

    def run(self, commands: str) -> str:
        """Runs commands; what they print."""
        for port, free in self.ports.items():
            commands = commands.replace(port, free)
        for name, value in re.findall(r"(\w+)=(\S+)", commands) if commands.startswith("export ") else ():
            self.environment[name] = value
        if commands.startswith(BLOCKING):
            return self.start(commands.strip())
        first, program, arguments = commands.rpartition(PROGRAM)
        other = first if program else commands
        done = [self.bash(other)] if other else []
        if program:
            done.append(self.fork(arguments))
        printed = "".join(each.stdout for each in done)
        assert not any(each.returncode for each in done), f"{commands}\n{printed}"
        return printed.replace(str(self.folder), HERE)

    def bash(self, commands: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-c", commands],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def fork(self, arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the program with arguments as a shell would take them."""
        words = shlex.split(arguments.replace("\\\n", " ").replace("$PWD", str(self.folder)))
        return run_forked(
            ["flows", *words], folder=self.folder, environment=self.environment, together=True, seconds=SECONDS
        )

    def start(self, command: str) -> str:
        """Starts what runs until Ctrl-C; what it prints until it is ready."""
        prefect, mlflow, serving = (self.ports[port] for port in PORTS)
        up = "finetune up" in command
        command += f" --prefect-port {prefect} --mlflow-port {mlflow}" if up else f" --port {serving}"
        log = self.folder / "log"
        environment = {name: value for name, value in self.environment.items() if not up or name != "PREFECT_API_URL"}
        with log.open("w") as stream:
            self.running[command] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=environment, stdout=stream, stderr=stream,
                text=True,
            )  # fmt: skip
        ready = "ready: " if up else " answers at "
        wait_until(lambda: ready in log.read_text(), seconds=SECONDS, what=command)
        return log.read_text().replace(str(self.folder), HERE)

    def end(self) -> None:
        """Presses Ctrl-C where something still runs."""
        while self.running:
            command, process = self.running.popitem()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, command


@pytest.fixture
def terminal(tmp_path: Path, prefect_api: str) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, prefect_api)
    yield terminal
    terminal.end()


def test_the_page_has_commands() -> None:
    assert [block.section[:2] for block in blocks(PAGE)][:: len(list(blocks(PAGE))) - 1] == ["1.", "10"]


@pytest.mark.timeout(900)
def test_every_command_does_what_the_page_says(terminal: Terminal) -> None:
    section = ""
    for block in blocks(PAGE):
        if block.section != section:
            terminal.end()
            section = block.section
        printed = terminal.run(block.commands)
        if os.environ.get("SHOW_TUTORIAL"):
            print(f"\n$ {block.commands}\n{printed}")  # noqa: T201
        assert not missing(block.printed, printed), f"{block.commands}\n{printed}"
