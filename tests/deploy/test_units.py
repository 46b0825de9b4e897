"""deploy/systemd: systemd can read the units, and what they start works together, with passwords and PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.e2e import PROJECT, answers, free_port, wait_until
from tests.support.postgres import postgres

UNITS = sorted((PROJECT / "deploy" / "systemd").iterdir())
PYTHON = "/opt/finetune-flows/.venv/bin/python"


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    for unit in UNITS:  # where a program is missing, that is all that is said
        written = unit.read_text().replace(PYTHON, "/bin/sh").replace("/opt/finetune-flows", str(PROJECT))
        (tmp_path / unit.name).write_text(written)
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Machine:
    """A folder in place of a server's root, with what a person fills in."""

    def __init__(self, root: Path, database: str) -> None:
        self.root, self.database = root, database
        self.prefect, self.mlflow = free_port(), free_port()
        (root / "var/lib/finetune").mkdir(parents=True)
        ini = root / "mlflow-auth.ini"
        ini.write_text(self.here((PROJECT / "deploy" / "mlflow-auth.ini").read_text()))

    def here(self, written: str) -> str:
        """What a file says, for this machine."""
        moved = {
            "/opt/finetune-flows/deploy/mlflow-auth.ini": str(self.root / "mlflow-auth.ini"),
            "/var/lib/finetune": str(self.root / "var/lib/finetune"),
            "postgresql://finetune@/?host=/var/run/postgresql": self.database,
            "4200": str(self.prefect),
            "5000": str(self.mlflow),
        }
        for there, here in moved.items():
            written = written.replace(there, here)
        return written

    def settings(self, name: str) -> dict[str, str]:
        """An environment file."""
        lines = self.here((PROJECT / "deploy" / name).read_text()).splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    @contextmanager
    def started(self, unit: str) -> Iterator[Path]:
        """What a unit starts; the file with what it says."""
        written = self.here((PROJECT / "deploy" / "systemd" / unit).read_text()).replace("\\\n", " ")
        lines = [line.split("=", 1) for line in written.splitlines() if "=" in line and not line.startswith("#")]
        (environment_file,) = [Path(value).name for key, value in lines if key == "EnvironmentFile"]
        (command,) = [value for key, value in lines if key == "ExecStart"]
        settings = self.settings(environment_file)
        for key, value in lines:
            if key == "Environment":
                settings |= dict(setting.split("=", 1) for setting in shlex.split(value))
        log = self.root / f"{unit}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [part.replace("${LISTEN}", settings.get("LISTEN", "")) for part in self.program(command)],
                env=self.environment(settings),
                cwd=self.root,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def program(self, command: str) -> list[str]:
        return shlex.split(command.replace(PYTHON, sys.executable))

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """As systemd gives it: nothing of this process's but what finds Python and this project's modules."""
        inherited = {name: os.environ[name] for name in ("PYTHONPATH", "HOME") if name in os.environ}
        return {**inherited, **settings, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


@pytest.mark.e2e
def test_what_the_units_start_works_together_and_asks_for_passwords(tmp_path: Path, small_data: Path) -> None:
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("Flask-WTF, which MLflow's basic authentication needs, is not here")
    with ExitStack() as stack:
        machine = Machine(tmp_path, stack.enter_context(postgres()))
        prefect, mlflow = f"http://127.0.0.1:{machine.prefect}", f"http://127.0.0.1:{machine.mlflow}"
        for unit, health in (("finetune-prefect", f"{prefect}/api/health"), ("finetune-mlflow", f"{mlflow}/health")):
            log = stack.enter_context(machine.started(f"{unit}.service"))
            wait_until(partial(answers, health), seconds=120, what=log.read_text())
        log = stack.enter_context(machine.started("finetune-worker.service"))
        wait_until(lambda: "ready" in log.read_text(), seconds=120, what=log.read_text())

        worker = machine.settings("worker.env")
        asked = f"{mlflow}/api/2.0/mlflow/experiments/search"
        assert httpx.post(f"{prefect}/api/deployments/filter", json={}).status_code == 401
        assert httpx.post(asked, json={"max_results": 9}).status_code == 401
        ours = tuple(worker["PREFECT_API_AUTH_STRING"].split(":"))
        theirs = (worker["MLFLOW_TRACKING_USERNAME"], worker["MLFLOW_TRACKING_PASSWORD"])
        deployment = httpx.get(
            f"{prefect}/api/deployments/name/finetune-classifier/classify-adhoc", auth=(ours[0], ours[1])
        ).json()
        changes = {"url": str(small_data), "epochs": 1, "registered_name": "units"}
        run = httpx.post(
            f"{prefect}/api/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"recipe": str(PROJECT / "tests" / "support" / "quick.yaml"), "changes": changes}},
            auth=(ours[0], ours[1]),
        ).json()["id"]

        def state() -> str:
            found = httpx.get(f"{prefect}/api/flow_runs/{run}", auth=(ours[0], ours[1])).json()
            assert found["state_type"] not in ("FAILED", "CRASHED"), found["state"]["message"]
            return str(found["state_type"])

        wait_until(lambda: state() == "COMPLETED", seconds=120, what="the run")
        versions = httpx.get(f"{mlflow}/api/2.0/mlflow/model-versions/search", auth=theirs).json()["model_versions"]
        assert [version["name"] for version in versions] == ["units"]
        # Through the server, and not by a folder that the worker would have to share with it.
        assert any((tmp_path / "var/lib/finetune/mlartifacts").rglob("model.safetensors"))
