"""The same run with servers instead of local files: only two variables change."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import mlflow
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.store.artifact import s3_artifact_repo

from flows.store import main as store
from lib.errors import ServiceError
from lib.store.bucket import Bucket
from tasks.record.mlflow_run import AwayError
from tasks.registry.files import model_files
from tasks.registry.models import CLASSIFIER, Version
from tests.support.e2e import Home, answers, copy_of, free_port, of_home, ran, serving, wait_until
from tests.support.object_servers import BUCKET, SECRET, environment

pytestmark = pytest.mark.e2e


@contextmanager
def mlflow_server(folder: Path, database: Path, storage: str, *places: str) -> Iterator[str]:
    """A real MLflow server with its own database; its address. storage: of a server of objects, which it may use."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    folder.mkdir()
    shutil.copyfile(database, folder / "server.db")
    backend = ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *backend, *places]
    off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with serving(command, health=f"{address}/health", folder=folder, environment=off | environment(storage)):
        yield address


@pytest.fixture
def serving_files(tmp_path: Path, new_database: Path, moto_server: str) -> Iterator[str]:
    """A server that serves artifacts itself, from a bucket that clients know nothing of."""
    place = ["--artifacts-destination", f"s3://{BUCKET}/mlflow"]
    with mlflow_server(tmp_path / "mlflow-server", new_database, moto_server, *place) as address:
        yield address


@pytest.fixture
def naming_files(tmp_path: Path, new_database: Path, moto_server: str) -> Iterator[str]:
    """A server that only says where in a bucket artifacts are, which clients read and write themselves."""
    place = ["--default-artifact-root", f"s3://{BUCKET}/direct"]
    with mlflow_server(tmp_path / "mlflow-server", new_database, moto_server, *place) as address:
        yield address


def objects_below(endpoint: str, prefix: str) -> dict[str, int]:
    """The sizes of objects by their names, asked as an administrator does."""
    with patch.dict(os.environ, environment(endpoint)):
        return {each.name: each.size for each in Bucket(f"s3://{BUCKET}").list(prefix)}


def test_a_tracking_server_gets_the_whole_run_and_serves_the_champion(
    copied: Home, serving_files: str, moto_server: str, tmp_path: Path
) -> None:
    mlflow_server = serving_files
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
    there = objects_below(moto_server, "mlflow")
    assert [size for name, size in there.items() if name.endswith("artifacts/classifier/model.safetensors")] == [
        size_of(fetched, "model.safetensors")
    ]


def test_files_that_runs_keep_in_a_bucket_themselves_are_registered_used_checked_and_pruned(
    retrained: tuple[Home, Any],
    naming_files: str,
    moto_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    home = copy_of(retrained[0], tmp_path / "home")
    shutil.rmtree(home.folder / "mlartifacts")
    here = {**environment(moto_server), "MLFLOW_TRACKING_URI": naming_files}
    remote = replace(home, environment={**home.environment, **here})
    first, second = remote.run(), remote.run("--training.learning_rate=0.002")
    assert ran(first) == ran(second) == []
    assert (first["registered"]["version"], second["registered"]["version"]) == ("1", "2")
    assert second["registered"]["aliases"] == retrained[1]["registered"]["aliases"]  # decided as with local files
    client = MlflowClient(naming_files)
    assert client.get_run(first["mlflow_run"]).info.artifact_uri.startswith(f"s3://{BUCKET}/direct/")
    assert not (home.folder / "mlartifacts").exists()
    done = remote.call("predict", "--name", "e2e", "Claim your prize now")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\t")[0] in {"ham", "spam"}
    assert SECRET not in done.stdout + done.stderr

    for name, value in {**here, "FINETUNE_HOME": str(home.folder)}.items():
        monkeypatch.setenv(name, value)
    version = Version("e2e", "1")
    fetched = model_files(client, CLASSIFIER, version).root
    weights = next(fetched.rglob("model.safetensors"))
    whole = weights.read_bytes()
    place = client.get_model_version_download_uri("e2e", "1").removeprefix(f"s3://{BUCKET}/")
    name = f"{place}/{weights.relative_to(fetched).as_posix()}"
    Bucket(f"s3://{BUCKET}").put(name, whole[:-1] + bytes([whole[-1] ^ 1]))
    shutil.rmtree(fetched)
    with pytest.raises(
        ServiceError, match=r"models:/e2e/1 cannot be loaded .*model\.safetensors does not have its che"
    ):
        model_files(client, CLASSIFIER, version)
    Bucket(f"s3://{BUCKET}").put(name, whole)
    assert model_files(client, CLASSIFIER, version).root == fetched
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "boto3", None)
        s3_artifact_repo._cached_get_s3_client.cache_clear()
        shutil.rmtree(fetched)
        sentence = (
            r"^models:/e2e/1 cannot be fetched \(.*needs the package boto3, .*`pip install 'finetune-flows\[s3\]'`"
        )
        with pytest.raises(AwayError, match=sentence):
            model_files(client, CLASSIFIER, version)
    assert model_files(client, CLASSIFIER, version).root == fetched

    client.delete_model_version("e2e", "1")
    capsys.readouterr()
    assert store(["prune", "--unreferenced", "--json"]) == 0
    removed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert str(fetched.relative_to(home.folder)) in {each["path"] for each in removed["beside"]}
    assert not fetched.exists()
    assert name in objects_below(moto_server, place)  # MLflow's own


def size_of(folder: Path, name: str) -> int:
    """The bytes of the only file of that name."""
    (found,) = folder.rglob(name)
    return found.stat().st_size


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
