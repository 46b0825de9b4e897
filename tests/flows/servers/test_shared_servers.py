"""The same run with servers instead of local files: only two variables change."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import mlflow
import psutil
import pytest
from mlflow import MlflowClient

from tests.support.e2e import Home, answers, free_port, of_home, ran, serving, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def mlflow_server(tmp_path: Path, new_database: Path) -> Iterator[str]:
    """A real MLflow server with its own database, which serves artifacts itself; its address."""
    address, folder = f"http://127.0.0.1:{(port := free_port())}", tmp_path / "mlflow-server"
    folder.mkdir()
    shutil.copyfile(new_database, folder / "server.db")
    places = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *places]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with serving(command, health=f"{address}/health", folder=folder, environment=environment):
        yield address


def test_a_tracking_server_gets_the_whole_run_and_serves_the_champion(
    copied: Home, mlflow_server: str, tmp_path: Path
) -> None:
    remote = replace(copied, environment={**copied.environment, "MLFLOW_TRACKING_URI": mlflow_server})
    local_runs = (copied.folder / "mlflow.db").read_bytes()
    result = remote.run()
    assert ran(result) == []  # another server needs no other artifacts
    assert (copied.folder / "mlflow.db").read_bytes() == local_runs
    client = MlflowClient(mlflow_server, registry_uri=mlflow_server)
    run = client.get_run(result["mlflow_run"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/accuracy"] == result["metrics"]["test/accuracy"]
    assert result["registered"]["aliases"] == ["challenger", "champion"]
    figure = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="figures/loss.png", dst_path=str(tmp_path), tracking_uri=mlflow_server
    )
    assert Path(figure).read_bytes().startswith(b"\x89PNG")
    done = remote.call("predict", "--name", "e2e", "Claim your prize now")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\t")[0] in {"ham", "spam"}
    for output in ("first", "second"):  # the classifier's files are fetched once
        texts = [str(remote.data), "--text_column=body", f"--output={tmp_path / output}", "--json"]
        done = remote.call(*texts, module="flows.score")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["scored"] == 400
        (fetched,) = (copied.folder / "models" / "e2e").glob("[!.]*")
        assert len(list(fetched.rglob("drift_profile.json"))) == 1


def test_the_pages_of_a_database_come_from_a_server_that_is_started_over_it(
    copied: Home, tmp_path: Path, new_database: Path
) -> None:
    uri = f"sqlite:///{shutil.copyfile(new_database, tmp_path / 'other.db')}"
    MlflowClient(uri).create_experiment("of the other database")
    home = replace(copied, environment={**copied.environment, "MLFLOW_TRACKING_URI": uri})
    command = home.command("--mlflow-port", str(port := free_port()), module="flows.ui")
    ui = subprocess.Popen(command, cwd=home.project, env=home.env(), stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), seconds=90, what="MLflow")
        found = httpx.post(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", json={"max_results": 9}).json()
        assert "of the other database" in {experiment["name"] for experiment in found["experiments"]}
        # Prefect's server is named, and so it is not started.
        assert not any("prefect" in child.cmdline() for child in psutil.Process(ui.pid).children(recursive=True))
    finally:
        ui.send_signal(signal.SIGINT)
        out, _ = ui.communicate(timeout=60)
    assert ui.returncode == 0
    assert of_home(home) == []
    assert [line.split()[1].partition("/#")[0] for line in out.splitlines()[:2]] == [
        home.environment["PREFECT_API_URL"],
        f"http://127.0.0.1:{port}",
    ]
