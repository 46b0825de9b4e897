"""`make up` as a person starts it: a process, the two servers that it has, and what is asked of them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import psutil

from tests.support.e2e import HTTP, PROJECT, Home, free_port, wait_until

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass
class Up:
    """The running program."""

    home: Home
    process: subprocess.Popen[str]
    api: str
    mlflow: str
    said: str  # until it was ready

    def deployment(self, name: str) -> Any:
        return self.get(f"deployments/name/{name}")

    def ask(self, method: str, path: str, values: Any = None) -> httpx.Response:
        """Prefect's answer, once it is not that SQLite is busy: its own client asks again then, too."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            answers.append(HTTP.request(method, f"{self.api}/{path}", json=values))
            return answers[-1].status_code != 503

        wait_until(answered, seconds=60, what=f"an answer of {path}")
        return answers[-1]

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, path: str, values: Any) -> Any:
        answer = self.ask("POST", path, values)
        assert answer.is_success, answer.text
        return answer.json()

    def patch(self, path: str, **values: Any) -> None:
        assert self.ask("PATCH", path, values).is_success

    def ask_for(self, name: str, parameters: Mapping[str, Any]) -> httpx.Response:
        """What the API answers to a run of the deployment with these parameters, now."""
        values = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.ask("POST", f"deployments/{self.deployment(name)['id']}/create_flow_run", values)

    def start(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Starts a run; its id."""
        answer = self.ask_for(name, parameters)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, name: str, parameters: Mapping[str, Any]) -> Any:
        """A run to its end."""
        return self.ended(self.start(name, parameters))

    def flow_run(self, run: str) -> Any:
        return self.get(f"flow_runs/{run}")

    def ended(self, run: str, *, seconds: float = 120) -> Any:
        """The run, once it has ended."""
        wait_until(lambda: self.flow_run(run)["state_type"] in FINAL, seconds=seconds, what=f"the end of run {run}")
        return self.flow_run(run)

    def wait_until_it_runs(self, run: str) -> None:
        wait_until(lambda: self.flow_run(run)["state_type"] == "RUNNING", seconds=60, what=f"the start of run {run}")

    def cancel(self, run: str) -> None:
        kind = "CANCELLED" if self.flow_run(run)["state_type"] == "SCHEDULED" else "CANCELLING"
        self.post(f"flow_runs/{run}/set_state", {"state": {"type": kind}})

    def mlflow_runs(self) -> list[Any]:
        """All runs, the newest first."""
        asked = f"{self.mlflow}/api/2.0/mlflow"
        experiments = HTTP.post(f"{asked}/experiments/search", json={"max_results": 100}).json()["experiments"]
        ids = [experiment["experiment_id"] for experiment in experiments]
        values = {"experiment_ids": ids, "order_by": ["attributes.start_time DESC"]}
        return list(HTTP.post(f"{asked}/runs/search", json=values).json().get("runs", []))

    def tracked(self, run: str) -> list[Any]:
        """The MLflow runs of a flow run."""
        return [found for found in self.mlflow_runs() if tags(found).get("prefect.flow_run_id") == run]

    def wait_for_training(self, run: str) -> None:
        """Until the run has logged a point of its curves."""
        wait_until(
            lambda: any(found["data"].get("metrics") for found in self.tracked(run)),
            seconds=120,
            what=f"training of run {run}",
        )

    def stop(self, kind: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(kind)
        return self.process.wait(60)

    def everything(self) -> list[psutil.Process]:
        """The program and all that it has started."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


def tags(mlflow_run: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in mlflow_run["data"].get("tags", [])}


@contextmanager
def up(home: Home, **environment: str) -> Iterator[Up]:
    """`make up` once it says that it is ready; stopped at the end of the block, if it still runs."""
    prefect, mlflow = free_port(), free_port()
    # Without the addresses of a server, that is: a test's home may name one.
    home = replace(home, environment=environment)
    arguments = ["--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    process = subprocess.Popen(
        home.command(*arguments, module="flows.up"),
        cwd=PROJECT,
        env=home.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("ready"):
                break
        else:
            _, error = process.communicate(timeout=60)
            raise AssertionError(f"it ended with {process.returncode}: {said}{error}")
        yield Up(home, process, f"http://127.0.0.1:{prefect}/api", f"http://127.0.0.1:{mlflow}", said)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=90)
