"""`finetune ui`: both servers over a home's files, on this machine only, and nothing left of them afterwards."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpx
import psutil
import pytest

from tests.support.e2e import Home, answers, free_port, of_home, wait_until
from tests.support.said import after_the_first_line

pytestmark = pytest.mark.e2e

LOOPBACK = {"127.0.0.1", "::1"}


@pytest.fixture
def alone(copied: Home, give_database: Callable[[Home], None]) -> Home:
    """A copy of the finished run's home, and no server named by the environment."""
    give_database(copied)
    # Importing a flow sets PREFECT_HOME for the whole process of the tests.
    return replace(copied, environment={"PREFECT_HOME": str(copied.folder / "prefect")})


@dataclass
class Ui:
    """The program while it runs; each server is the leader of a process group."""

    process: subprocess.Popen[str]
    prefect: int
    mlflow: int

    def listeners(self) -> dict[int, set[str]]:
        """The addresses at which the program and all that it started listen, by port."""
        found: dict[int, set[str]] = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.setdefault(connection.laddr.port, set()).add(connection.laddr.ip)
        return found

    def server(self, module: str) -> psutil.Process:
        """The process of `python -m {module} server`."""
        (found,) = [child for child in psutil.Process(self.process.pid).children() if module in child.cmdline()]
        return found

    def kill_and_await(self, module: str) -> None:
        """Kills a server: MLflow's with its keeper, Prefect's alone; returns when another one answers in its place."""
        keeper = self.server(module)
        health = f"http://127.0.0.1:{self.prefect}/api/health"
        if module == "mlflow":
            health = f"http://127.0.0.1:{self.mlflow}/health"
            os.killpg(keeper.pid, signal.SIGKILL)
        else:
            keeper.children()[0].kill()
        wait_until(lambda: not keeper.is_running(), seconds=30, what=f"the end of {module}")
        wait_until(lambda: answers(health), seconds=60, what=f"{module}, started again")

    def end(self, kind: signal.Signals) -> int:
        """Sends the signal; the exit status."""
        self.process.send_signal(kind)
        return self.process.wait(60)


def arguments(prefect: int, mlflow: int) -> list[str]:
    return ["--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]


@contextmanager
def started(home: Home) -> Iterator[Ui]:
    """The program once it has printed its last line; what it says of addresses is checked."""
    prefect, mlflow = free_port(), free_port()
    process = subprocess.Popen(
        home.command(*arguments(prefect, mlflow), module="flows.ui"),
        cwd=home.project,
        env=home.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[:2] == [
            f"Prefect  http://127.0.0.1:{prefect}\n",
            f"MLflow   http://127.0.0.1:{mlflow}/#/experiments/1/runs?workflowType=machine_learning"
            "&viewStateShareKey=finetune\n",
        ]
        assert "Ctrl-C" in lines[2]
        yield Ui(process, prefect, mlflow)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_both_pages_show_the_homes_runs_to_this_machine_alone_until_it_hangs_up(alone: Home) -> None:
    with started(alone) as ui:
        prefect, mlflow = f"http://127.0.0.1:{ui.prefect}", f"http://127.0.0.1:{ui.mlflow}"
        for page in (prefect, mlflow):
            answer = httpx.get(page, follow_redirects=True)
            assert answer.is_success
            assert "<html" in answer.text
        settings = httpx.get(f"{prefect}/ui-settings").json()
        assert settings["api_url"] == f"{prefect}/api"
        assert settings["default_ui"] == "v1"  # its other pages talk to a company's server
        assert httpx.get(f"{prefect}/api/admin/settings").json()["server"]["analytics_enabled"] is False
        assert httpx.post(f"{prefect}/api/flow_runs/filter", json={}).json() == []  # it ran on another server
        (run,) = httpx.post(f"{mlflow}/api/2.0/mlflow/runs/search", json={"experiment_ids": ["1"]}).json()["runs"]
        assert run["info"]["status"] == "FINISHED"
        artifacts = httpx.get(
            f"{mlflow}/ajax-api/2.0/mlflow/artifacts/list", params={"run_id": run["info"]["run_id"]}
        ).json()["files"]
        assert "report.html" in {file["path"] for file in artifacts}
        listening = ui.listeners()
        assert {ui.prefect, ui.mlflow} <= set(listening)
        assert set().union(*listening.values()) <= LOOPBACK
        assert ended(ui, alone, signal.SIGHUP) == ""


def test_servers_that_were_killed_are_started_again_and_a_signal_leaves_nothing(alone: Home) -> None:
    with started(alone) as ui:
        ui.kill_and_await("mlflow")
        ui.kill_and_await("prefect")
        said = ended(ui, alone, signal.SIGTERM)
    again = r"(MLflow|Prefect) ended with status (-9|137): see .*-server\.log\. It is started again"
    found = [re.fullmatch(again, line) for line in said.splitlines()]
    assert [match and match[1] for match in found] == ["MLflow", "Prefect"]


def ended(ui: Ui, home: Home, kind: signal.Signals) -> str:
    """Ends it by the signal, which leaves no process and no port in use; what it has said after its first line."""
    assert len(of_home(home)) >= 3
    assert ui.end(kind) == 0
    assert of_home(home) == []
    assert is_free(ui.prefect)
    assert is_free(ui.mlflow)
    assert ui.process.stderr is not None
    return after_the_first_line(ui.process.stderr.read())


@pytest.mark.parametrize("taken", ["prefect", "mlflow"])
def test_a_taken_port_is_one_sentence_and_nothing_is_left(alone: Home, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ports = {"prefect": free_port(), "mlflow": free_port(), taken: port}
        done = alone.call(*arguments(**ports), module="flows.ui")
    assert done.returncode == 2
    assert re.fullmatch(
        rf"error: port {port} for \w+ is taken: .*--{taken}-port\)\n", after_the_first_line(done.stderr)
    )
    assert of_home(alone) == []
    assert all(is_free(port) for port in ports.values())


def test_a_port_that_cannot_be_is_refused(alone: Home) -> None:
    done = alone.call("--prefect-port", "65536", module="flows.ui")
    assert done.returncode == 2
    assert "65536 is no port: choose one from 1 to 65535" in done.stderr
    assert "Traceback" not in done.stderr


def test_servers_that_the_environment_names_are_printed_and_not_started(alone: Home) -> None:
    named = {"PREFECT_API_URL": "http://prefect.test/api", "MLFLOW_TRACKING_URI": "http://ann:secret@mlflow.test"}
    done = replace(alone, environment=named).call(module="flows.ui")
    assert (done.returncode, after_the_first_line(done.stderr)) == (0, "")
    assert done.stdout.splitlines() == ["Prefect  http://prefect.test/api", "MLflow   http://mlflow.test"]
